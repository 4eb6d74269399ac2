// What somebody can do who has taken the hub over: listen, change, forge, deliver again.
import { allow, policy } from "@postern/rpc/auth";
import { BrokerError } from "@postern/rpc/broker";
import { MALLORY, OrderPlaced, PACKING, SHOP } from "./contracts.ts";
import type { Hub } from "./hub.ts";
import { enter, next } from "./story.ts";

/** Shows that it comes to nothing, and throws where it does not. */
export async function withstand(hub: Hub, show: (line: string) => unknown): Promise<void> {
  await using people = new AsyncDisposableStack();
  const [packer, shop] = [people.use(await enter(hub, PACKING)), people.use(await enter(hub, SHOP))];
  const orders = people.use(await packer.subscribe(OrderPlaced));
  const refused = () => packer.decisions.flatMap(({ event, reason }) => event === "message.refuse" ? [reason] : []);

  const cards = hub.heard.filter((text) => text.includes("4111"));
  show(`the hub heard everything, and the number of the card in ${cards.length} events`);
  expect(cards.length === 0);

  const lax = policy([allow({ caller: MALLORY, publish: ">" })]);
  const outside = people.use(await enter(hub, MALLORY, lax));
  const forged = await outside.publish(OrderPlaced, { id: "order-7", cents: 1 }).then(() => "published", reasonOf);
  show(`mallory publishes an order by rules of her own: ${forged} by the hub`);
  const inside = people.use(await enter({ reach: () => Promise.resolve(hub.broker) }, MALLORY, lax));
  await inside.publish(OrderPlaced, { id: "order-8", cents: 1 });

  await shop.publish(OrderPlaced, { id: "order-9", cents: 900 });
  const { topic, event } = JSON.parse(hub.heard.at(-1)!);
  await hub.broker.publish({ topic, id: "changed", event: event.replace(`"cents":900`, `"cents":1`) });
  await hub.broker.publish({ topic, id: "copied", event });
  await shop.publish(OrderPlaced, { id: "order-10", cents: 1_000 });
  const taken = [await next(orders), await next(orders)].map(({ data }) => `${data.id} for ${data.cents}`);
  show(`past the hub, she forges an order, and puts a changed one and a copy between two real ones`);
  show(`the packer takes ${taken.join(", ")}, and refuses three: ${refused().join(", ")}`);
  expect(forged === "refused" && taken.join() === "order-9 for 900,order-10 for 1000");
  expect(refused().join() === "not_allowed,wrong_digest,replayed");
}

const reasonOf = (error: unknown) => error instanceof BrokerError ? error.reason : String(error);

function expect(isSo: boolean): void {
  if (!isSo) throw new Error("This is not as it must be");
}
