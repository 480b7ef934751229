"""``per_cpu/``: the buffer of each CPU, and the files of the whole that tell of buffers."""

from __future__ import annotations

from kprobesim.trace.files.node import Node, ReadOnly, Table
from kprobesim.trace.files.output import Buffer, TraceFile, TracePipe
from kprobesim.trace.files.raw import TracePipeRaw
from kprobesim.trace.raw.records import Records
from kprobesim.trace.trace_array import TraceArray

__all__ = ["per_cpu"]


def per_cpu(tracing: TraceArray, buffer: Buffer, records: Records, snapshot: Node) -> Table:
    """The folder; the guest has one CPU.

    Args:
        tracing: Whose buffer it is.
        buffer: Its size, and what has been written to it.
        records: Makes the bytes of entries.
        snapshot: The file of that name.
    """
    nodes: dict[str, Node] = {
        "buffer_size_kb": buffer.cpu_size_file(),
        "snapshot": snapshot,
        "stats": ReadOnly(buffer.stats),
        "trace": TraceFile(tracing),
        "trace_pipe": TracePipe(tracing),
        "trace_pipe_raw": TracePipeRaw(tracing.buffer, records),
    }
    return Table({"cpu0": Table(nodes)})
