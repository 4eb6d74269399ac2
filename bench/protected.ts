// What proof costs: each call is signed and verified four times with Ed25519, twice on either side.
import { createClient, fetchTransport } from "@postern/rpc";
import { prove } from "@postern/rpc/auth";
import { bareHandler, Greeter, protectedServer, REQUEST_BODY, REQUEST_HEADERS } from "./greeter.ts";
import { GREETER, makeDomain, memberOf } from "./lib/domain.ts";
import { compare, type Compared, type Row, row, runClient, startContestant } from "./lib/measure.ts";

/** The rows of a protected unary call. */
export async function protectedRows(rounds: number): Promise<Row[]> {
  const rows: Row[] = [];
  for (const cached of [true, false]) {
    rows.push(await inProcess(rounds, cached, "signatures"));
    if (cached) rows.push(await inProcess(rounds, cached, "bare"));
    rows.push(await serverTime(rounds, cached));
  }
  return rows;
}

const named = (what: string, cached: boolean) =>
  `protected, ${what}, ${cached ? "tokens remembered" : "no token remembered"}`;

/** Client and server in one process: to the four operations that no signed call can do without, and to a bare handler. */
async function inProcess(rounds: number, cached: boolean, to: "signatures" | "bare"): Promise<Row> {
  const domain = await makeDomain();
  const maxCachedTokens = cached ? undefined : 0;
  const server = protectedServer(await memberOf(domain.server, maxCachedTokens));
  const prover = prove({ ...await memberOf(domain.client, maxCachedTokens), peer: GREETER });
  const fetch = (url: string, init: RequestInit) => server.fetch(new Request(url, init));
  const greeter = createClient(Greeter, fetchTransport("https://localhost", { prover, fetch }));
  const control = to === "bare" ? bareCall : await signatures();
  const all = await compare(rounds, async (ours) => {
    const callOnce = ours ? () => greeter.hello({ name: "Ada" }) : control;
    const start = performance.now();
    let calls = 0;
    for (; performance.now() < start + 600; calls++) await callOnce();
    return calls / (performance.now() - start) * 1000;
  });
  const what = to === "bare" ? "in process" : "in process, to 2 signs + 2 verifies";
  return row(named(what, cached), "calls/s", all, "none");
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
async function serverTime(rounds: number, cached: boolean): Promise<Row> {
  const domain = await makeDomain();
  await using bare = await startContestant("bare");
  await using ours = await startContestant(cached ? "protected" : "uncached", domain.server);
  const all: Compared[] = await compare(rounds, async (isOurs) => {
    const contestant = isOurs ? ours : bare;
    const before = contestant.cpuUs();
    const member = JSON.stringify(domain.client);
    const { calls } = await runClient([
      isOurs ? "protected" : "bare",
      "http",
      `${contestant.port}`,
      "32",
      "1500",
      member,
    ]);
    return (contestant.cpuUs() - before) / calls;
  });
  return row(named("loopback, the server's processor time", cached), "us/request", all, "none");
}
