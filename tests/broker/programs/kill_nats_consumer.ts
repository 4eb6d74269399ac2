// A member of a group over JetStream, until it is killed or asked to end.
import { createPubSub } from "../../../src/broker/mod.ts";
import { type Member, memberOf, TOPICS, work } from "./kill_app.ts";
import { type NatsReach, reachNats } from "./kill_nats_reach.ts";

/** What the consumer is told in its first argument. */
export interface NatsConsumerSetup {
  readonly member: Member;
  readonly reach: NatsReach;
}

if (import.meta.main) {
  const { member, reach }: NatsConsumerSetup = JSON.parse(Deno.args[0]!);
  const { identity, trust } = await memberOf(member);
  await using nats = await reachNats(reach);
  await using bus = createPubSub(nats.broker, { identity, trust, policy: TOPICS });
  // What is out at a consumer that was killed comes again only after this time.
  await work(bus, 2_000);
}
