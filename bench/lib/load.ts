// Load on one server over keep-alive connections: by wrk where it is installed, else by sockets of our own.
import { REQUEST_BODY, REQUEST_HEADERS } from "../greeter.ts";
import { output } from "./measure.ts";

/** How many requests a server answered, and in how many seconds. */
export interface Load {
  readonly requests: number;
  readonly seconds: number;
}

const PATH = "/greeter.v1/hello";

export async function hasWrk(): Promise<boolean> {
  try {
    await new Deno.Command("wrk", { args: ["-v"], stdout: "null", stderr: "null" }).output();
    return true;
  } catch {
    return false;
  }
}

export async function wrk(port: number, connections: number, seconds: number): Promise<Load> {
  const script = await Deno.makeTempFile({ suffix: ".lua" });
  const headers = Object.entries(REQUEST_HEADERS).map(([name, value]) => `wrk.headers["${name}"]="${value}"`);
  await Deno.writeTextFile(script, [`wrk.method="POST"`, `wrk.body='${REQUEST_BODY}'`, ...headers].join("\n"));
  try {
    const url = `http://127.0.0.1:${port}${PATH}`;
    const text = await output("wrk", ["-t1", `-c${connections}`, `-d${seconds}s`, "-s", script, url]);
    if (/Non-2xx/.test(text)) throw new Error(`Cannot measure: not every request was answered\n${text}`);
    const [, requests, elapsed] = /(\d+) requests in ([\d.]+)s/.exec(text)!;
    return { requests: Number(requests), seconds: Number(elapsed) };
  } finally {
    await Deno.remove(script);
  }
}

/** The same over our own sockets; slower than wrk, so differences between fast servers look smaller. */
export async function sockets(port: number, connections: number, seconds: number): Promise<Load> {
  const headers = Object.entries(REQUEST_HEADERS).map(([name, value]) => `${name}: ${value}\r\n`).join("");
  const head = `POST ${PATH} HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\n${headers}`;
  const request = new TextEncoder().encode(`${head}content-length: ${REQUEST_BODY.length}\r\n\r\n${REQUEST_BODY}`);
  const end = performance.now() + seconds * 1000;
  const counts = await Promise.all(Array.from({ length: connections }, async () => {
    using connection = await Deno.connect({ port, hostname: "127.0.0.1" });
    const buffer = new Uint8Array(4096);
    let requests = 0;
    for (; performance.now() < end; requests++) {
      await connection.write(request);
      if (await connection.read(buffer) === null) throw new Error("Cannot measure: the server closed a connection");
    }
    return requests;
  }));
  return { requests: counts.reduce((sum, each) => sum + each, 0), seconds };
}
