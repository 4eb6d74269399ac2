// A contestant as a process of its own, on Deno or Bun: prints its port, serves until it is ended.
import type { Server } from "@postern/rpc";
import { bareEcho, bareHandler, posternServer, protectedServer } from "./greeter.ts";
import { memberOf } from "./lib/domain.ts";
import { args, type Contender, listen } from "./lib/listen.ts";
import { bareTicker, posternTicker, protectedTicker } from "./ticker.ts";

const [kind, member = ""] = args;

const memberHere = () => memberOf(JSON.parse(member));

/** Without the signal of a call of the same process: only what a listener is given. */
const served = ({ fetch, upgrade }: Server): Contender => ({ fetch: (request) => fetch(request), upgrade });

async function contender(): Promise<Contender> {
  if (kind === "bare") return { fetch: bareHandler, echo: bareEcho };
  if (kind === "postern") return served(posternServer());
  if (kind === "bare-ticker") return { fetch: bareTicker };
  if (kind === "ticker") return served(posternTicker());
  if (kind === "protected-ticker") return served(protectedTicker(await memberHere()));
  return served(protectedServer(await memberHere()));
}

listen(await contender());
