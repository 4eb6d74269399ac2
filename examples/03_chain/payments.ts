// Payments: who calls must show a right as well, and the message must be within it.
import { createServer, implement, type Server } from "@postern/rpc";
import { allow, policy, protect } from "@postern/rpc/auth";
import { ORDERS, Payments } from "./contracts.ts";
import { noteCall, type Place } from "./place.ts";

const rules = policy([allow({ caller: ORDERS, call: "payments.v1/charge", capability: true })]);

export function createPayments({ log, fetch: _, ...place }: Place): Server {
  let receipt = 0;
  const payments = implement(Payments, {
    charge({ cents }, context) {
      noteCall(context);
      return { receipt: ++receipt, cents };
    },
  });
  return createServer(payments, { guard: protect({ ...place, policy: rules }), log });
}
