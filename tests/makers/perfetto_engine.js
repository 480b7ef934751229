// Runs the trace processor of Perfetto's own user interface, as WebAssembly, in Node: what comes on
// standard input are its remote procedure calls, what it answers goes to standard output.
// ARGUMENT: the folder with engine_bundle.js and trace_processor*.wasm.
"use strict";
const fs = require("node:fs");
const path = require("node:path");

const folder = process.argv[2];

// The little of a browser's worker that the engine asks for.
class FileRequest {
  open(_method, name) { this.name = name; }
  send() { this.response = fs.readFileSync(path.join(folder, path.basename(this.name))); }
}
const say = (...words) => process.stderr.write(words.join(" ") + "\n");
const worker = {};
const location = { href: "file:///engine.js", protocol: "file:", host: "" };
worker.location = location;
const code = fs.readFileSync(path.join(folder, "engine_bundle.js"), "utf-8");
new Function("self", "WorkerGlobalScope", "XMLHttpRequest", "location", "process", "console", code)(
  worker, function WorkerGlobalScope() {}, FileRequest, location, undefined,
  { log: say, warn: say, error: say, info: say, debug: say });

const port = { postMessage: (bytes) => process.stdout.write(Buffer.from(bytes)) };
worker.onmessage({ data: port });
setImmediate(() => {
  process.stdin.on("data", (bytes) => port.onmessage({ data: new Uint8Array(bytes) }));
});
