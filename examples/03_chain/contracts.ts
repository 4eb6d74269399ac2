// Three contracts: each names the next service's work in its own words.
import { rpc, service } from "@postern/rpc";
import * as v from "valibot";

const Cents = v.pipe(v.number(), v.safeInteger(), v.minValue(1));
const Order = v.strictObject({ item: v.pipe(v.string(), v.maxLength(64)), cents: Cents });
const Receipt = v.object({ receipt: v.number(), cents: v.number() });

export const Gateway = service("gateway.v1", { checkout: rpc(Order, Receipt) });
export const Orders = service("orders.v1", { place: rpc(Order, Receipt) });
export const Payments = service("payments.v1", { charge: rpc(v.strictObject({ cents: Cents }), Receipt) });

export const WEB = "spiffe://example.org/web";
export const GATEWAY = "spiffe://example.org/gateway";
export const ORDERS = "spiffe://example.org/orders";
export const PAYMENTS = "spiffe://example.org/payments";
