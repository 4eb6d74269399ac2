// `deno task demo`: what Postern does, told in one process, every call over TLS.
import {
  anonymous,
  createClient,
  createServer,
  fetchTransport,
  implement,
  publicOnly,
  rpc,
  RpcError,
  service,
} from "@postern/rpc";
import { createFetch, serve } from "@postern/rpc/deno";
import * as v from "valibot";
import { devCa } from "../tools/dev_ca.ts";

const Greeter = service("greeter.v1", {
  hello: rpc(v.strictObject({ name: v.pipe(v.string(), v.maxLength(64)) }), v.object({ text: v.string() })),
  ponder: rpc(v.strictObject({ question: v.string() }), v.object({ text: v.string() })),
});

let noted: () => void;
const deadlineNoted = new Promise<void>((resolve) => noted = resolve);

/** Thinks for a minute, or until nobody waits any more. */
function ponder(signal: AbortSignal): Promise<{ text: string }> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve({ text: "42" }), 60_000);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      console.log("     the handler was told to stop");
    });
  });
}

const server = createServer(
  implement(Greeter, {
    hello: ({ name }) => ({ text: `Hello, ${name}!` }),
    ponder: (_message, { signal }) => ponder(signal),
  }),
  {
    guard: publicOnly(["greeter.v1/hello", "greeter.v1/ponder"]),
    log: ({ code, correlationId, event }) => {
      console.log(`     the server's log: ${code} ${correlationId} ${event}`);
      if (code === "deadline_exceeded") noted();
    },
  },
);

let step = 0;
const tell = (what: string) => console.log(`\n${++step}. ${what}`);

/** Makes a call that must fail, and shows what its caller learns. */
async function mustFail(call: () => unknown): Promise<void> {
  try {
    await call();
  } catch (error) {
    if (error instanceof RpcError) console.log(`     refused: ${error.code}: ${error.message}`);
    else console.log(`     refused: ${error}`);
    return;
  }
  throw new Error("This call must not succeed");
}

tell("A development authority, so that there is TLS on this machine too");
const { ca, caPath, cert, key } = await devCa();
console.log(`     ${caPath}`);

tell("A greeter over HTTPS on a free port");
const serving = await serve(server, { cert, key, port: 0 });
const fetch = createFetch({ caCerts: [ca] });
console.log(`     ${serving.url}`);

tell("A typed call");
const greeter = createClient(Greeter, fetchTransport(serving.url, { prover: anonymous(), fetch }));
console.log(`     ${(await greeter.hello({ name: "Ada" })).text}`);

tell("A bad message does not leave the client");
await mustFail(() => greeter.hello({ name: "A".repeat(65) }));

tell("Nor does the server take one from a client that checks nothing");
const headers = { "content-type": "application/json" };
const smuggled = '{"name":"Ada","role":"admin"}';
const response = await fetch(`${serving.url}/greeter.v1/hello`, { method: "POST", headers, body: smuggled });
const { code, message } = await response.json();
console.log(`     refused: ${response.status} ${code}: ${message}`);

tell("A deadline that is missed ends the call on both sides");
await mustFail(() => greeter.ponder({ question: "Why?" }, { timeoutMs: 200 }));
await deadlineNoted;

tell("There is no plaintext");
await mustFail(() => fetchTransport(serving.url.replace("https:", "http:"), { prover: anonymous() }));

fetch[Symbol.dispose]();
await serving[Symbol.asyncDispose]();
tell("The server has drained. To call it yourself, from another terminal");
console.log(`     npx -y deno@2.9.6 task hello:serve
     curl --cacert ${caPath} --json '{"name":"Ada"}' https://localhost:8443/greeter.v1/hello
`);
