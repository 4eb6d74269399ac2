// What is in stock, and taking from it. Reading is safe, so a client may ask a second instance; taking is not.
import { rpc, service } from "@postern/rpc";
import * as v from "valibot";

const Item = v.strictObject({ item: v.pipe(v.string(), v.maxLength(64)) });
const Answer = v.object({ left: v.number(), by: v.string() });

export const Stock = service("stock.v1", {
  count: rpc(Item, Answer, { safe: true }),
  take: rpc(Item, Answer),
});

export const STOCK = "spiffe://example.org/stock";
export const SHOP = "spiffe://example.org/shop";
export const REGISTRY = "spiffe://example.org/registry";
