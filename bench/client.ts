// A client as a process of its own: `client.ts bare|postern PORT OUTSTANDING MS` prints its calls per second.
import { anonymous, createClient, fetchTransport } from "@postern/rpc";
import { Greeter, REQUEST_BODY, REQUEST_HEADERS } from "./greeter.ts";

const [kind, port, outstanding, ms] = Deno.args;
const url = `http://127.0.0.1:${port}/greeter.v1/hello`;

async function bare(): Promise<void> {
  const response = await fetch(url, { method: "POST", headers: REQUEST_HEADERS, body: REQUEST_BODY });
  await response.json();
}

const greeter = createClient(
  Greeter,
  fetchTransport("https://127.0.0.1", { prover: anonymous(), fetch: (_url, init) => fetch(url, init) }),
);

async function postern(): Promise<void> {
  await greeter.hello({ name: "Ada" });
}

const call = kind === "bare" ? bare : postern;

async function run(forMs: number): Promise<number> {
  const end = performance.now() + forMs;
  let calls = 0;
  await Promise.all(Array.from({ length: Number(outstanding) }, async () => {
    for (; performance.now() < end; calls++) await call();
  }));
  return calls / forMs * 1000;
}

await run(Number(ms) / 2);
console.log(await run(Number(ms)));
