// A contestant as a process of its own: prints its port, serves until it is ended.
import { bareHandler, posternServer, protectedServer } from "./greeter.ts";
import { memberOf } from "./lib/domain.ts";

const [kind, member = ""] = Deno.args;

async function handlerOf(): Promise<(request: Request) => Promise<Response>> {
  if (kind === "bare") return bareHandler;
  if (kind === "postern") return posternServer().fetch;
  return protectedServer(await memberOf(JSON.parse(member), kind === "uncached" ? 0 : undefined)).fetch;
}

const handler = await handlerOf();
Deno.serve(
  { port: 0, hostname: "127.0.0.1", onListen: ({ port }) => console.log(port) },
  (request) => handler(request),
);
