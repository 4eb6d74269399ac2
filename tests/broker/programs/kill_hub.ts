// A hub over a broker in a file, on a fixed port, until it is killed or asked to end.
import { allow, policy, protect } from "../../../src/auth/mod.ts";
import { brokerService, memoryBroker } from "../../../src/broker/mod.ts";
import { createServer } from "../../../src/rpc/mod.ts";
import { brokerStore, serve } from "../../../src/runtime/deno.ts";
import { DOMAIN, type Member, memberOf, PACKING, tell, TOPICS, untilAsked } from "./kill_app.ts";

/** What the hub is told in its first argument. */
export interface HubSetup {
  readonly member: Member;
  readonly cert: string;
  readonly key: string;
  readonly port: number;
  /** The file that survives. */
  readonly store: string;
  readonly maxMessages: number;
}

if (import.meta.main) {
  const { member, cert, key, port, store, maxMessages }: HubSetup = JSON.parse(Deno.args[0]!);
  const { identity, trust } = await memberOf(member);
  await using broker = memoryBroker({ store: await brokerStore(store), maxMessages });
  const calls = policy([allow({ caller: `spiffe://${DOMAIN}/*`, call: "postern.broker.v1/*" })]);
  // Nothing is left out: publishers wait for the group.
  const hub = brokerService(broker, { trust, policy: TOPICS, mayBlock: ({ id }) => id === PACKING });
  const guard = protect({ identity, trust, policy: calls });
  await using _serving = await serve(createServer(hub, { guard, log: () => {} }), { cert, key, port, drainMs: 2_000 });
  await using _hub = hub; // its subscriptions end before the server
  tell("ready");
  await untilAsked();
}
