// What proof costs: a call under a session, whose two messages each have a MAC, and one whose messages are signed with
// Ed25519, twice on either side.
import { createClient, fetchTransport } from "@postern/rpc";
import { prove } from "@postern/rpc/auth";
import { bareHandler, Greeter, protectedServer, REQUEST_BODY, REQUEST_HEADERS } from "./greeter.ts";
import { GREETER, makeDomain, memberOf } from "./lib/domain.ts";
import { compare, type Compared, type Row, row, runClient, startContestant } from "./lib/measure.ts";

/** The rows of a protected unary call. */
export async function protectedRows(rounds: number): Promise<Row[]> {
  return [
    await inProcess(rounds, "session"),
    await sessionToSignatures(rounds),
    await inProcess(rounds, "signatures"),
    await serverTime(rounds, "protected", { atMost: 5 }),
    await serverTime(rounds, "signed", "none"),
  ];
}

/** Client and server in one process. */
async function here() {
  const domain = await makeDomain();
  const server = protectedServer(await memberOf(domain.server));
  const prover = prove({ ...await memberOf(domain.client), peer: GREETER });
  const fetch = (url: string, init: RequestInit) => server.fetch(new Request(url, init));
  return createClient(Greeter, fetchTransport("https://localhost", { prover, fetch }));
}

/** A session to a bare handler; signatures to the four operations that no signed call can do without. */
async function inProcess(rounds: number, kind: "session" | "signatures"): Promise<Row> {
  const greeter = await here();
  const control = kind === "session" ? bareCall : await signatures();
  const call = kind === "session" ? greeter.hello : greeter.signed;
  const all = await compare(rounds, (ours) => rateOf(ours ? () => call({ name: "Ada" }) : control));
  const what = kind === "session" ? "under a session, in process" : "signed, in process, to 2 signs + 2 verifies";
  return row(`protected, ${what}`, "calls/s", all, "none");
}

async function sessionToSignatures(rounds: number): Promise<Row> {
  const greeter = await here();
  const all = await compare(
    rounds,
    (ours) => rateOf(() => ours ? greeter.hello({ name: "Ada" }) : greeter.signed({ name: "Ada" })),
  );
  return row("protected, under a session to signed, in process", "calls/s", all, { atLeast: 2.5 });
}

async function rateOf(callOnce: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  let calls = 0;
  for (; performance.now() < start + 600; calls++) await callOnce();
  return calls / (performance.now() - start) * 1000;
}

const bareCall = async () => {
  const init = { method: "POST", headers: REQUEST_HEADERS, body: REQUEST_BODY };
  return await (await bareHandler(new Request("https://localhost/greeter.v1/hello", init))).text();
};

/** Two signatures over 1,100 bytes, each made and checked. */
async function signatures(): Promise<() => Promise<unknown>> {
  const { privateKey, publicKey } = await crypto.subtle.generateKey("Ed25519", false, [
    "sign",
    "verify",
  ]) as CryptoKeyPair;
  const message = new Uint8Array(1_100);
  return async () => {
    for (let i = 0; i < 2; i++) {
      const signature = await crypto.subtle.sign("Ed25519", privateKey, message);
      await crypto.subtle.verify("Ed25519", publicKey, signature, message);
    }
  };
}

/** The server's processor time over loopback, under 32 outstanding calls of a client of its own process. */
async function serverTime(
  rounds: number,
  kind: "protected" | "signed",
  budget: { readonly atMost: number } | "none",
): Promise<Row> {
  const domain = await makeDomain();
  await using bare = await startContestant("bare");
  await using ours = await startContestant("protected", domain.server);
  const all: Compared[] = await compare(rounds, async (isOurs) => {
    const contestant = isOurs ? ours : bare;
    const before = contestant.cpuUs();
    const member = JSON.stringify(domain.client);
    const { calls } = await runClient([isOurs ? kind : "bare", "http", `${contestant.port}`, "32", "1500", member]);
    return (contestant.cpuUs() - before) / calls;
  });
  const what = kind === "signed" ? "signed" : "under a session";
  return row(`protected, ${what}, loopback, the server's processor time`, "us/request", all, budget);
}
