// A member of a group at a hub, until it is killed or asked to end.
import { createPubSub } from "../../../src/broker/mod.ts";
import { type Member, memberOf, TOPICS, work } from "./kill_app.ts";
import { reachHub } from "./kill_hub_reach.ts";

/** What the consumer is told in its first argument. */
export interface HubConsumerSetup {
  readonly member: Member;
  readonly ca: string;
  readonly port: number;
}

if (import.meta.main) {
  const { member, ca, port }: HubConsumerSetup = JSON.parse(Deno.args[0]!);
  const { identity, trust } = await memberOf(member);
  await using hub = await reachHub({ identity, trust, ca, port });
  await using bus = createPubSub(hub.broker, { identity, trust, policy: TOPICS });
  await work(bus, 30_000);
}
