// A client as a process of its own: `client.ts bare|postern|protected PORT OUTSTANDING MS [MEMBER]` prints its calls per
// second and how many calls it made.
import { anonymous, createClient, fetchTransport } from "@postern/rpc";
import type { Prover } from "@postern/rpc/rpc";
import { prove } from "@postern/rpc/auth";
import { Greeter, REQUEST_BODY, REQUEST_HEADERS } from "./greeter.ts";
import { GREETER, memberOf } from "./lib/domain.ts";

const [kind, port, outstanding, ms, member] = Deno.args;
const url = `http://127.0.0.1:${port}/greeter.v1/hello`;

async function bare(): Promise<void> {
  const response = await fetch(url, { method: "POST", headers: REQUEST_HEADERS, body: REQUEST_BODY });
  await response.json();
}

async function proverOf(): Promise<Prover> {
  return kind === "protected" ? prove({ ...await memberOf(JSON.parse(member!)), peer: GREETER }) : anonymous();
}

const greeter = createClient(
  Greeter,
  fetchTransport("https://127.0.0.1", { prover: await proverOf(), fetch: (_url, init) => fetch(url, init) }),
);

async function postern(): Promise<void> {
  await greeter.hello({ name: "Ada" });
}

const call = kind === "bare" ? bare : postern;

let made = 0;

async function run(forMs: number): Promise<number> {
  const end = performance.now() + forMs;
  let calls = 0;
  await Promise.all(Array.from({ length: Number(outstanding) }, async () => {
    for (; performance.now() < end; calls++) await call();
  }));
  made += calls;
  return calls / forMs * 1000;
}

await run(Number(ms) / 2);
console.log(`${await run(Number(ms))} ${made}`);
