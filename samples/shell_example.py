"""Boot a kernel into a BusyBox shell, type commands on its console, and print what it says.

    python samples/shell_example.py IMAGE BUSYBOX [COMMAND]...

BUSYBOX is the program for the image's architecture, linked statically (`make kernels` fetches it);
a COMMAND is a line for the shell. To type yourself, on a terminal:

    python samples/shell_example.py --initrd=shell.cpio BUSYBOX
    kprobesim boot IMAGE --initrd shell.cpio
"""

from __future__ import annotations

import sys
from pathlib import Path

from kprobesim import Kernel, KprobesimError
from kprobesim.boot.initramfs import character_device, directory, make_cpio

PROMPT = "guest# "
WHERE = "\x1b[6n"  # the shell asks the terminal for its cursor's place; nobody answers here
INIT = f"""#!/bin/busybox sh
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mount -t devtmpfs devtmpfs /dev
busybox --install -s /bin
PS1='{PROMPT}' setsid cttyhack sh
poweroff -f
"""


def shell_initrd(busybox: bytes) -> bytes:
    """An initial file system whose init is a shell on the console, with job control."""
    folders = dict.fromkeys(("dev", "proc", "sys", "tmp"), directory())
    return make_cpio(
        {
            **folders,
            "bin/busybox": busybox,
            "init": INIT.encode(),
            "dev/console": character_device(5, 1),
        }
    )


def main(image: str, busybox: str, *commands: str) -> None:
    initrd = shell_initrd(Path(busybox).read_bytes())
    if image.startswith("--initrd="):
        Path(image.partition("=")[2]).write_bytes(initrd)
        return
    k = Kernel.boot(image, initrd=initrd, append="quiet")
    k.run(until=PROMPT)
    for command in commands or ("uname -a", "ls /", "sleep 100; date"):
        start = len(k.console.text)
        k.console.send(command + "\n")
        k.run(until=PROMPT)
        said = k.console.text[start:].removesuffix(PROMPT).removeprefix(WHERE)
        print(PROMPT + said.rstrip())
    print(f"{k.time:.1f} s have passed for the guest")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except (KprobesimError, OSError) as error:
        sys.exit(f"{error}")
