// What a stream of small messages costs: a server that yields them, and a consumer that only counts their bytes, so that
// the server is what is measured; then our own client. `deno run -A bench/streams.ts --rounds=5` is this part alone.
import { anonymous, createClient, fetchTransport } from "@postern/rpc";
import { prove } from "@postern/rpc/auth";
import { GREETER, makeDomain, type Member, memberOf } from "./lib/domain.ts";
import { compare, type Contestant, type Row, row, type Runtime, startContestant, table } from "./lib/measure.ts";
import { rawRequest } from "./lib/raw_http.ts";
import { countRequest, Ticker } from "./ticker.ts";

const MESSAGES = 100_000;

/** The rows of streams over HTTP. */
export async function streamRows(rounds: number, runtimes: readonly Runtime[] = ["deno", "bun"]): Promise<Row[]> {
  const rows: Row[] = [];
  for (const runtime of runtimes) {
    rows.push(await plain(rounds, runtime, "fetch"));
    rows.push(await plain(rounds, runtime, "socket"));
    rows.push(await proven(rounds, runtime));
  }
  rows.push(await ownClient(rounds));
  return rows;
}

/**
 * To one chunk for each message, which Bun puts together by itself and Deno does not. Read by `fetch`, where a chunk is a
 * turn of the event loop; read from a socket, where it is next to nothing, only the server's own work is left.
 */
async function plain(rounds: number, runtime: Runtime, by: "fetch" | "socket"): Promise<Row> {
  await using bare = await startContestant("bare-ticker", {}, runtime);
  await using ours = await startContestant("ticker", {}, runtime);
  const count = by === "fetch" ? countByFetch : countBySocket;
  const all = await compare(rounds, (isOurs) => rate(() => count(isOurs ? ours : bare, isOurs)));
  // A consumer on Deno can take no more than so many messages from Bun, whoever sends them.
  const budget = by === "fetch"
    ? runtime === "deno" ? { atLeast: 15 } : "none" as const
    : runtime === "bun"
    ? { atLeast: 0.5 }
    : "none" as const;
  return row(named(runtime, `read by ${by}, to a chunk for each`), "messages/s", all, budget);
}

/** With a MAC for each block, to the same without one. */
async function proven(rounds: number, runtime: Runtime): Promise<Row> {
  const domain = await makeDomain();
  await using open = await startContestant("ticker", {}, runtime);
  await using ours = await startContestant("protected-ticker", domain.server, runtime);
  const countProven = await provenCount(domain.client, ours);
  const all = await compare(rounds, (isOurs) => rate(() => isOurs ? countProven() : countBySocket(open, true)));
  return row(named(runtime, "proven, to plain"), "messages/s", all, { atLeast: 0.5 });
}

const named = (runtime: Runtime, what: string) => `stream of ${MESSAGES} messages on ${runtime}, ${what}`;

async function rate(countOnce: () => Promise<void>): Promise<number> {
  const start = performance.now();
  await countOnce();
  return MESSAGES / (performance.now() - start) * 1_000;
}

const requestOf = (ours: boolean) =>
  ours
    ? { path: "/ticker.v1/count", init: { method: "POST", ...countRequest(MESSAGES) } }
    : { path: `/?n=${MESSAGES}`, init: { method: "GET", headers: {}, body: new Uint8Array() } };

async function countBySocket({ port }: Contestant, isOurs: boolean): Promise<void> {
  const { path, init } = requestOf(isOurs);
  const { status, bytes } = await rawRequest(port, path, init);
  assertAll(status, bytes);
}

async function countByFetch({ port }: Contestant, isOurs: boolean): Promise<void> {
  const { path, init } = requestOf(isOurs);
  const body = init.method === "GET" ? {} : { body: init.body as BodyInit };
  const response = await fetch(`http://127.0.0.1:${port}${path}`, { ...init, body: undefined, ...body });
  let bytes = 0;
  for await (const chunk of response.body!) bytes += chunk.length;
  assertAll(response.status, bytes);
}

/** The proof of the request is a client's; what comes back is counted only. */
async function provenCount(member: Member, { port }: Contestant): Promise<() => Promise<void>> {
  const prover = prove({ ...await memberOf(member), peer: GREETER });
  let counted: { status: number; bytes: number } | undefined;
  const ticker = createClient(
    Ticker,
    fetchTransport("https://127.0.0.1", {
      prover,
      async fetch(_url, { headers, body }) {
        const init = { method: "POST", headers: headers as Record<string, string>, body: bytesOf(body) };
        const answer = await rawRequest(port, "/ticker.v1/count", init);
        if (answer.body) {
          return new Response(answer.body as BodyInit, { status: answer.status, headers: answer.headers });
        }
        counted = answer;
        throw new Error("It has been counted");
      },
    }),
  );
  return async () => {
    counted = undefined;
    try {
      for await (const _ of ticker.count({ n: MESSAGES }));
    } catch (error) {
      if (!counted) throw error;
    }
    assertAll(counted!.status, counted!.bytes);
  };
}

const bytesOf = (body: BodyInit | null | undefined) =>
  body instanceof Uint8Array ? body : new TextEncoder().encode(body as string ?? "");

function assertAll(status: number, bytes: number): void {
  if (status !== 200 || bytes < MESSAGES * 20) throw new Error(`Cannot measure: ${bytes} bytes came with ${status}`);
}

/** Our client to our server, each message decoded and checked, to the same with fetch and a loop over the lines. */
async function ownClient(rounds: number): Promise<Row> {
  await using bare = await startContestant("bare-ticker");
  await using ours = await startContestant("ticker");
  const send = (_url: string, init: RequestInit) => fetch(`http://127.0.0.1:${ours.port}/ticker.v1/count`, init);
  const ticker = createClient(Ticker, fetchTransport("https://127.0.0.1", { prover: anonymous(), fetch: send }));
  const all = await compare(rounds, (isOurs) =>
    rate(async () => {
      let messages = 0;
      if (isOurs) { for await (const _ of ticker.count({ n: MESSAGES })) messages++; }
      else messages = await readLines(bare);
      if (messages !== MESSAGES) throw new Error(`Cannot measure: ${messages} messages came`);
    }));
  return row("the same on deno, own client, to fetch and JSON.parse of lines", "messages/s", all, "none");
}

async function readLines({ port }: Contestant): Promise<number> {
  const response = await fetch(`http://127.0.0.1:${port}/?n=${MESSAGES}`);
  let messages = 0;
  let rest = "";
  for await (const text of response.body!.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    for (const line of lines) if (JSON.parse(line).i === messages) messages++;
  }
  return messages;
}

if (import.meta.main) {
  const rounds = Number(Deno.args.find((arg) => arg.startsWith("--rounds="))?.slice(9) ?? 5);
  const only = Deno.args.find((arg) => arg.startsWith("--on="))?.slice(5);
  console.log(table(await streamRows(rounds, only === undefined ? undefined : [only as Runtime])));
}
