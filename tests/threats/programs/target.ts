/** What is attacked: a Postern server that counts how often its handler was called. */
import process from "node:process";
import * as v from "valibot";
import { createServer, implement, json, publicOnly, rpc, service } from "../../../mod.ts";
import type { ServerLimits } from "../../../src/rpc/mod.ts";
import type { FetchServer, ServeOptions, Serving } from "../../../src/runtime/runtime.ts";

/** The largest message that the target takes, in bytes. */
export const MAX_BYTES = 4096;

const Nothing = v.strictObject({});

const Greeter = service("greeter.v1", {
  hello: rpc(v.strictObject({ name: v.pipe(v.string(), v.maxLength(64)) }), v.object({ text: v.string() })),
  closed: rpc(Nothing, Nothing),
  tally: rpc(Nothing, v.object({ hellos: v.number(), rssBytes: v.number() })),
});

/** What the program is told in its first argument. */
export interface TargetInput extends Pick<ServeOptions, "cert" | "key"> {
  readonly limits?: ServerLimits;
}

/** Serves until the standard input ends, so that no target outlives the test that started it. */
export async function runTarget(serve: (app: FetchServer, options: ServeOptions) => Promise<Serving>): Promise<void> {
  const { limits = {}, ...certificate }: TargetInput = JSON.parse(process.argv[2]);
  let hellos = 0;
  const server = createServer(
    implement(Greeter, {
      hello({ name }) {
        hellos++;
        return { text: `Hello, ${name}!` };
      },
      closed: () => ({}),
      tally: () => ({ hellos, rssBytes: process.memoryUsage().rss }),
    }),
    {
      guard: publicOnly(["greeter.v1/hello", "greeter.v1/tally"]),
      codecs: [json({ maxBytes: MAX_BYTES })],
      limits,
      log: () => {},
    },
  );
  const serving = await serve(server, { ...certificate, port: 0, drainMs: 100 });
  console.log(`ready ${serving.port}`);
  process.stdin.on("data", () => {});
  process.stdin.on("end", async () => {
    await serving[Symbol.asyncDispose]();
    process.exit(0);
  });
}
