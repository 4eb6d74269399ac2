// Orders: it holds no right of its own, and uses the one that came with the call it is answering.
import { createClient, createServer, fetchTransport, implement, type Server } from "@postern/rpc";
import { allow, policy, protect, prove } from "@postern/rpc/auth";
import { GATEWAY, Orders, PAYMENTS, Payments } from "./contracts.ts";
import { noteCall, type Place } from "./place.ts";

const rules = policy([allow({ caller: GATEWAY, call: "orders.v1/place" })]);

export function createOrders({ log, fetch, ...place }: Place, paymentsUrl: string): Server {
  const prover = prove({ ...place, peer: PAYMENTS });
  const payments = createClient(Payments, fetchTransport(paymentsUrl, { prover, fetch }));
  const orders = implement(Orders, {
    place({ cents }, context) {
      noteCall(context);
      return context.call(payments).charge({ cents });
    },
  });
  return createServer(orders, { guard: protect({ ...place, policy: rules }), log });
}
