// What a unary call costs on one WebSocket, over the least that answers JSON with JSON on one.
// `deno run -A bench/websocket.ts --rounds=5` is this part alone.
import { makeDomain } from "./lib/domain.ts";
import { compare, type Row, row, runClient, type Runtime, startContestant, table } from "./lib/measure.ts";

/** The rows of calls on a connection. */
export async function webSocketRows(rounds: number, runtimes: readonly Runtime[] = ["deno", "bun"]): Promise<Row[]> {
  const rows: Row[] = [];
  for (const runtime of runtimes) {
    for (const kind of ["postern", "protected"] as const) {
      for (const outstanding of [1, 32]) rows.push(await calls(rounds, runtime, kind, outstanding));
    }
  }
  return rows;
}

async function calls(
  rounds: number,
  runtime: Runtime,
  kind: "postern" | "protected",
  outstanding: number,
): Promise<Row> {
  const domain = await makeDomain();
  await using bare = await startContestant("bare", {}, runtime);
  await using ours = await startContestant(kind, domain.server, runtime);
  const member = JSON.stringify(domain.client);
  const all = await compare(rounds, async (isOurs) => {
    const { port } = isOurs ? ours : bare;
    return (await runClient([isOurs ? kind : "bare", "ws", `${port}`, `${outstanding}`, "1000", member])).rate;
  });
  const what = kind === "postern" ? "plain" : "proven";
  const name = `WebSocket of a server on ${runtime}, ${what}, ${outstanding} outstanding`;
  return row(name, "calls/s", all, { atLeast: outstanding === 1 ? 0.8 : 1 });
}

if (import.meta.main) {
  const given = (name: string) => Deno.args.find((arg) => arg.startsWith(`--${name}=`))?.slice(name.length + 3);
  const only = given("on");
  const rows = await webSocketRows(Number(given("rounds") ?? 5), only === undefined ? undefined : [only as Runtime]);
  console.log(table(rows));
}
