// What the programs that are killed have in common: the topic, the rules, and how a member of the group works.
import * as v from "valibot";
import {
  allow,
  createTrust,
  type Identity,
  importIdentity,
  importKey,
  policy,
  secret,
  type Trust,
  type TrustBundle,
} from "../../../src/auth/mod.ts";
import { type PubSub, topic } from "../../../src/broker/mod.ts";

export const DOMAIN = "example.org";
export const HUB = `spiffe://${DOMAIN}/hub`;
export const SHOP = `spiffe://${DOMAIN}/shop`;
export const PACKING = `spiffe://${DOMAIN}/packing`;
export const GROUP = "packers";

/** Messages that are counted. */
export const Counted = topic("orders.v1.counted", v.strictObject({ n: v.pipe(v.number(), v.integer()) }));

/** What may be read by whoever reads the memory of a hub, and what may not. */
export const Told = topic("orders.v1.told", v.strictObject({ text: v.string() }));
export const Kept = topic("orders.v1.kept", v.strictObject({ text: v.string() }), { encrypted: true });

export const TOPICS = policy([
  allow({ caller: SHOP, publish: [Counted.name, Told.name, Kept.name] }),
  allow({ caller: PACKING, subscribe: [Counted.name, Told.name, Kept.name] }),
]);

/** Somebody of the domain, as another process gets it. */
export interface Member {
  readonly bundle: TrustBundle;
  /** Its private key, as the text of a JWK. */
  readonly key: string;
  readonly token: string;
}

/** Somebody of the domain, in its own process. */
export async function memberOf({ bundle, key, token }: Member): Promise<{
  readonly identity: Identity;
  readonly trust: Trust;
}> {
  const trust = await createTrust({ [DOMAIN]: bundle });
  return { identity: importIdentity(await importKey(secret(key)), token), trust };
}

/** Tells the test a line, at once: what was told is not lost when the process is killed. */
export function tell(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}

/** Settles when the standard input ends: nothing outlives the test that started it. */
export async function untilAsked(): Promise<void> {
  for await (const _ of Deno.stdin.readable) { /* nobody says anything */ }
}

/** Works in the group until it is asked to end: tells each message, and only then acknowledges it. */
export async function work(bus: PubSub, ackWaitMs: number): Promise<void> {
  await using messages = await bus.subscribe(Counted, { group: GROUP, ackWaitMs });
  const drained = untilAsked().then(() => messages.drain());
  tell("ready");
  for await (const { data, ack } of messages) {
    tell(`${data.n}`);
    ack();
  }
  await drained;
}
