// Calls one path many times over one HTTP/2 connection, with Node's own small windows, and prints the answers' sizes.
import http2 from "node:http2";
import process from "node:process";

const { url, path, calls, ca } = JSON.parse(process.argv[2]);
const session = http2.connect(url, { ca });
session.on("error", () => {});

function call() {
  return new Promise((resolve) => {
    let size = 0;
    const stream = session.request({ ":method": "POST", ":path": path, "content-type": "application/json" });
    stream.on("data", (chunk) => size += chunk.length);
    stream.on("error", () => {});
    stream.on("close", () => resolve(size));
    stream.end("{}");
  });
}

console.log(JSON.stringify(await Promise.all(Array.from({ length: calls }, call))));
session.close();
