// The gateway: it holds a right to charge, and hands on with each call no more of it than that call needs.
import { createClient, createServer, fetchTransport, implement, type Server } from "@postern/rpc";
import { allow, type Capability, delegating, exact, policy, protect, prove } from "@postern/rpc/auth";
import { Gateway, ORDERS, Orders, PAYMENTS, WEB } from "./contracts.ts";
import { noteCall, type Place } from "./place.ts";

const rules = policy([allow({ caller: WEB, call: "gateway.v1/checkout" })]);

/** Where the gateway finds orders, and what it may charge. */
export interface GatewayOptions {
  readonly ordersUrl: string;
  readonly capability: Capability;
}

export function createGateway({ log, fetch, ...place }: Place, { ordersUrl, capability }: GatewayOptions): Server {
  const prover = prove({
    ...place,
    peer: ORDERS,
    capability,
    delegate: delegating(Orders, {
      place: ({ cents }) => ({ tools: { "payments.v1/charge": { cents: exact(cents) } }, audience: PAYMENTS }),
    }),
  });
  const orders = createClient(Orders, fetchTransport(ordersUrl, { prover, fetch }));
  const gateway = implement(Gateway, {
    checkout(order, context) {
      noteCall(context);
      return context.call(orders).place(order);
    },
  });
  return createServer(gateway, { guard: protect({ ...place, policy: rules }), log });
}
