// What happens in the shop, as topics, and who may say it and hear it. Everybody has the same rules: each checks the others.
import { allow, policy } from "@postern/rpc/auth";
import { deadLetterTopic, topic } from "@postern/rpc/broker";
import * as v from "valibot";

const Order = v.strictObject({ id: v.pipe(v.string(), v.maxLength(64)), cents: v.pipe(v.number(), v.integer()) });
const Payment = v.strictObject({ ...Order.entries, card: v.pipe(v.string(), v.maxLength(19)) });

export const OrderPlaced = topic("orders.v1.placed", Order);
/** Nobody but its publisher and its subscribers can read it, the broker neither. */
export const OrderPaid = topic("orders.v1.paid", Payment, { encrypted: true });
export const OrdersDead = deadLetterTopic("orders.v1.dead");

export const HUB = "spiffe://example.org/hub";
export const SHOP = "spiffe://example.org/shop";
export const PACKING = "spiffe://example.org/packing";
export const FRAUD = "spiffe://example.org/fraud";
export const MALLORY = "spiffe://example.org/mallory";

export const rules = policy([
  allow({ caller: SHOP, publish: ["orders.v1.placed", "orders.v1.paid"] }),
  allow({ caller: PACKING, subscribe: "orders.v1.placed", publish: "orders.v1.dead" }),
  allow({ caller: FRAUD, subscribe: ["orders.v1.paid", "orders.v1.dead"] }),
]);
