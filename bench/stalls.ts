// Whether a WebSocket waits for acknowledgements of TCP: round trips over TLS on loopback, our client and Deno's, to a server
// that serve() of this package listens for. `deno run -A bench/stalls.ts` prints the median and the 99th percentile in ms.
import { createWebSocket, serve } from "@postern/rpc/deno";
import type { Upgrade } from "@postern/rpc/rpc";
import { devCa } from "../tools/dev_ca.ts";

const { ca, caPath: _, ...certificate } = await devCa();
/** Of ours; one of Deno's takes 44 ms where it waits. */
const TURNS = { createWebSocket: 400, WebSocket: 40 } as const;
type Name = keyof typeof TURNS;

/** Sends back what is binary. */
const echo = (): Upgrade => ({
  protocol: "echo",
  maxMessageBytes: 1_048_576,
  open: (pipe) => ({
    receive(message) {
      if (typeof message !== "string") pipe.send(message.slice());
    },
    closed() {},
  }),
});

type Socket = Pick<WebSocket, "send" | "close" | "binaryType" | "onopen" | "onmessage">;

async function roundTrips(name: Name, size: number, isSecond: boolean): Promise<string> {
  const socket = contestants[name]();
  socket.binaryType = "arraybuffer";
  await new Promise((resolve) => socket.onopen = resolve);
  const turnsMs: number[] = [];
  for (let turn = 0; turn < TURNS[name]; turn++) {
    const since = performance.now();
    const echoed = new Promise((resolve) => socket.onmessage = resolve);
    if (isSecond) socket.send("quiet");
    socket.send(new Uint8Array(size));
    await echoed;
    turnsMs.push(performance.now() - since);
  }
  socket.close();
  const sorted = turnsMs.slice(TURNS[name] / 4).sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.floor(share * (sorted.length - 1))]!.toFixed(2);
  return `${at(0.5)} / ${at(0.99)}`;
}

await using serving = await serve({ fetch: () => new Response(), upgrade: echo }, { ...certificate, port: 0 });
const url = `${serving.url.replace("https:", "wss:")}/`;
const client = Deno.createHttpClient({ caCerts: [ca] });
const contestants: Readonly<Record<Name, () => Socket>> = {
  createWebSocket: () => createWebSocket({ caCerts: [ca] })(url, ["echo"]) as unknown as Socket,
  WebSocket: () => new WebSocket(url, { protocols: ["echo"], client }),
};
for (const isSecond of [false, true]) {
  for (const size of [100, 1_100, 4_096, 16_384, 65_536]) {
    for (const name of ["createWebSocket", "WebSocket"] as const) {
      const what = `${size} bytes${isSecond ? " after another message" : ""}, ${name}`;
      console.log(`${what.padEnd(55)} ${await roundTrips(name, size, isSecond)}`);
    }
  }
}
client.close();
