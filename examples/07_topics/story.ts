// A shop that tells what happens, two packers who share the work, and a desk that hears what nobody else may.
import type { Identity, Policy } from "@postern/rpc/auth";
import { type Broker, createPubSub, type Message, type PubSub, type Subscription } from "@postern/rpc/broker";
import type { AuditEvent } from "@postern/rpc/rpc";
import { join, trust } from "../02_identity/authority.ts";
import { FRAUD, OrderPaid, OrderPlaced, OrdersDead, PACKING, rules, SHOP } from "./contracts.ts";

/** Where the story takes place. */
export interface Scene {
  /** The broker as somebody reaches it. */
  readonly reach: (identity: Identity) => Promise<Broker>;
  readonly show: (line: string) => unknown;
}

/** Somebody who publishes and subscribes, and what it decided. */
export interface Party extends PubSub {
  readonly decisions: AuditEvent[];
}

/** Makes somebody, who goes by the rules of all, or by others. */
export async function enter({ reach }: Pick<Scene, "reach">, id: string, own: Policy = rules): Promise<Party> {
  const identity = await join(id);
  const decisions: AuditEvent[] = [];
  const audit = { record: (event: AuditEvent) => void decisions.push(event) };
  return { ...createPubSub(await reach(identity), { identity, trust, policy: own, audit }), decisions };
}

/** Tells the story, and throws when a message was lost. */
export async function tellStory(scene: Scene): Promise<void> {
  const { show } = scene;
  await using people = new AsyncDisposableStack();
  const shop = people.use(await enter(scene, SHOP));
  const packers = [people.use(await enter(scene, PACKING)), people.use(await enter(scene, PACKING))];
  const desk = people.use(await enter(scene, FRAUD));

  const options = { group: "packers", maxInFlight: 1, deadLetter: OrdersDead, maxAttempts: 2 };
  const lines = await Promise.all(packers.map((packer) => packer.subscribe(OrderPlaced, options)));
  const dead = people.use(await desk.subscribe(OrdersDead));
  const paid = people.use(await desk.subscribe(OrderPaid));

  for (let n = 1; n <= 6; n++) await shop.publish(OrderPlaced, { id: `order-${n}`, cents: n === 4 ? -1 : n * 1_000 });
  const packed: string[] = [];
  let tried = 0;
  await Promise.all(lines.map(async (line) => {
    for await (const order of line) {
      if (order.data.cents < 0) tried++, order.nack(); // nobody can pack that, so after two attempts it is a dead letter
      else packed.push(order.data.id), order.ack();
      if (packed.length === 5 && tried === 2) await Promise.all(lines.map((each) => each.drain()));
    }
  }));
  show(`two packers of one group packed: ${packed.sort().join(", ")}`);
  const letter = await next(dead);
  show(`dead letter: from ${letter.data.topic}, ${letter.data.reason} (${letter.data.attempts})`);

  await shop.publish(OrderPaid, { id: "order-1", cents: 1_000, card: "4111 1111 1111 1111" });
  const payment = await next(paid);
  show(`the desk reads: ${payment.data.card}, from ${payment.publisher.id}`);
}

/** The next message, acknowledged. */
export async function next<Data>(subscription: Subscription<Message<Data>>): Promise<Message<Data>> {
  const { value } = await subscription[Symbol.asyncIterator]().next();
  if (!value) throw new Error("There was no message");
  value.ack();
  return value;
}
