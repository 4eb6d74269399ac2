// `deno task bench`: what a call costs over a bare handler of the same runtime, all in one run, contestants in turn.
// Ratios are what counts: the machine's own speed cancels out. Nothing of this is a test.
import { json } from "@postern/rpc/codec";
import { createClient } from "@postern/rpc";
import { bareHandler, Greeter, posternServer, REQUEST_BODY, REQUEST_HEADERS } from "./greeter.ts";
import { hasWrk, sockets, wrk } from "./lib/load.ts";
import {
  compare,
  type Compared,
  type Measure,
  type Row,
  row,
  runClient,
  startContestant,
  table,
} from "./lib/measure.ts";
import { protectedRows } from "./protected.ts";
import { streamRows } from "./streams.ts";
import { webSocketRows } from "./websocket.ts";

const ROUNDS = Number(Deno.args.find((arg) => arg.startsWith("--rounds="))?.slice(9) ?? 5);
const SECONDS = 2;

const rounds = (measure: Measure) => compare(ROUNDS, measure);

/** A fresh request into the handler, the answer's text out; or the same call by a client of the same process. */
async function inProcess(through: "fetch" | "call"): Promise<Row> {
  const { fetch: ours, call } = posternServer();
  const greeter = createClient(Greeter, call);
  const headers = { ...REQUEST_HEADERS, "content-length": `${REQUEST_BODY.length}` }; // as it comes over a network
  const request = () =>
    new Request("https://localhost/greeter.v1/hello", { method: "POST", headers, body: REQUEST_BODY });
  const bare = async () => await (await bareHandler(request())).text();
  const postern = {
    fetch: async () => await (await ours(request())).text(),
    call: () => greeter.hello({ name: "Ada" }),
  };
  const all = await rounds(async (isOurs) => {
    const callOnce = isOurs ? postern[through] : bare;
    const start = performance.now();
    let calls = 0;
    for (; performance.now() < start + 400; calls += 100) {
      for (let i = 0; i < 100; i++) await callOnce();
    }
    return calls / (performance.now() - start) * 1000;
  });
  return row(`in process, through server.${through}`, "calls/s", all, { atLeast: 0.8 });
}

async function loopback(): Promise<Row[]> {
  await using bare = await startContestant("bare");
  await using ours = await startContestant("postern");
  const load = await hasWrk() ? wrk : sockets;
  if (load === sockets) console.log("wrk is not installed: the load comes from our own, slower sockets");
  const rates: Compared[] = [];
  const cpus: Compared[] = [];
  await load(bare.port, 32, 1);
  await load(ours.port, 32, 1);
  for (let i = 0; i < ROUNDS; i++) {
    const figures: { rate: number; cpu: number }[] = [];
    for (const contestant of [bare, ours]) {
      const before = contestant.cpuUs();
      const { requests, seconds } = await load(contestant.port, 32, SECONDS);
      figures.push({ rate: requests / seconds, cpu: (contestant.cpuUs() - before) / requests });
    }
    rates.push({ control: figures[0]!.rate, ours: figures[1]!.rate });
    cpus.push({ control: figures[0]!.cpu, ours: figures[1]!.cpu });
  }
  return [
    row("loopback keep-alive, 32 connections", "requests/s", rates, { atLeast: 0.75 }),
    row("the same, the server's processor time", "us/request", cpus, { atMost: 1.35 }),
  ];
}

/** The same server for both, so that the difference is the client's. */
async function ownClient(outstanding: number): Promise<Row> {
  await using server = await startContestant("postern");
  const all = await rounds(async (ours) => {
    const args = [ours ? "postern" : "bare", "http", `${server.port}`, `${outstanding}`, "1500"];
    return (await runClient(args)).rate;
  });
  return row(`own client, ${outstanding} outstanding`, "calls/s", all, { atLeast: 0.9 });
}

/** An object of about the given size: short texts, numbers, nested items. */
function sample(bytes: number): Uint8Array {
  const item = (i: number) => ({ sku: `item-${i}`, count: i * 7, price: i + 0.25, tags: ["new", "sale"], ok: true });
  const items = [];
  while (JSON.stringify({ items }).length < bytes - 75) items.push(item(items.length));
  return new TextEncoder().encode(JSON.stringify({ id: "0192-7f3a", note: "an order", items }));
}

async function decoder(bytes: number): Promise<Row> {
  const codec = json();
  const utf8 = new TextDecoder();
  const message = sample(bytes);
  const repeat = Math.ceil(200_000 / bytes);
  const all = await rounds((ours) => {
    const start = performance.now();
    let decoded = 0;
    for (; performance.now() < start + 150; decoded += repeat) {
      for (let i = 0; i < repeat; i++) ours ? codec.decode(message) : JSON.parse(utf8.decode(message));
    }
    return (performance.now() - start) / decoded * 1000;
  });
  return row(`decode JSON, ${message.length} bytes, to JSON.parse`, "us", all, { atMost: 4 });
}

const rows: Row[] = [await inProcess("fetch"), await inProcess("call"), ...await loopback()];
for (const outstanding of [1, 32]) rows.push(await ownClient(outstanding));
for (const bytes of [157, 1_000, 13_000]) rows.push(await decoder(bytes));
rows.push(...await protectedRows(ROUNDS), ...await streamRows(ROUNDS), ...await webSocketRows(ROUNDS));
console.log(`${Deno.build.os} ${Deno.build.arch}, Deno ${Deno.version.deno}, ${ROUNDS} rounds\n\n${table(rows)}`);
await Deno.mkdir(".dev", { recursive: true });
await Deno.writeTextFile(".dev/bench.json", JSON.stringify(rows, null, 2) + "\n");
