"""``per_cpu/``: a folder for each CPU, with the files that tell of its buffer alone."""

from __future__ import annotations

from functools import partial

from kprobesim.trace.cpu_buffer import CpuBuffer
from kprobesim.trace.files.node import Node, ReadOnly, Table
from kprobesim.trace.files.output import Buffer, TraceFile, TracePipe
from kprobesim.trace.files.raw import TracePipeRaw
from kprobesim.trace.files.snapshot import SnapshotFile
from kprobesim.trace.raw.records import Records
from kprobesim.trace.trace_array import TraceArray

__all__ = ["per_cpu"]


def per_cpu(tracing: TraceArray, buffer: Buffer, records: Records, snapshot: SnapshotFile) -> Table:
    """The folder.

    Args:
        tracing: Whose buffer it is.
        buffer: Its size, and what has been written to it.
        records: Makes the bytes of entries.
        snapshot: The file of that name, of all CPUs.
    """

    def of_cpu(part: CpuBuffer) -> Table:
        nodes: dict[str, Node] = {
            "buffer_size_kb": buffer.cpu_size_file(part),
            "snapshot": snapshot.of_cpu(part.number),
            "stats": ReadOnly(partial(buffer.stats, part)),
            "trace": TraceFile(tracing, part),
            "trace_pipe": TracePipe(tracing, part),
            "trace_pipe_raw": TracePipeRaw(part, records),
        }
        return Table(nodes)

    return Table({f"cpu{part.number}": of_cpu(part) for part in tracing.buffer.cpus})
