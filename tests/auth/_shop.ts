// Three protected servers in one process that call each other over requests: gateway -> orders -> payments.
import {
  allow,
  exact,
  type Identity,
  issueCapability,
  memoryReplay,
  policy,
  protect,
  prove,
  type ProveOptions,
  range,
  type Rule,
} from "../../src/auth/mod.ts";
import {
  type Client,
  type Context,
  createClient,
  createServer,
  fetchTransport,
  implement,
  type Implementation,
  type LogEntry,
  type MethodDeclarations,
  rpc,
  type Server,
  type Service,
  service,
} from "../../src/rpc/mod.ts";
import * as v from "valibot";
import { collect } from "../rpc/_rig.ts";
import { type Captured, DOMAIN, requestOf, watchedAudit, type World, world } from "./_world.ts";

export const Amount = v.strictObject({ amount: v.number() });

export const Gateway = service("gateway.v1", { checkout: rpc(Amount, Amount) });
export const Orders = service("orders.v1", { place: rpc(Amount, Amount) });
export const Payments = service("payments.v1", { charge: rpc(Amount, Amount), refund: rpc(Amount, Amount) });

export interface Money {
  readonly amount: number;
}
type Handler = (message: Money, context: Context) => unknown;

export const idOf = (name: string): string => `spiffe://${DOMAIN}/${name}`;

/** A server of the shop, what its handlers were told, and what reached it. */
export interface Hop {
  readonly identity: Identity;
  readonly server: Server;
  readonly contexts: Context[];
  readonly received: Captured[];
  readonly audit: ReturnType<typeof watchedAudit>;
  readonly entries: LogEntry[];
}

export function serve(
  { now, trust }: World,
  identity: Identity,
  implemented: (note: (handler: Handler) => (message: Money, context: Context) => Money) => Implementation,
  rules: readonly Rule[],
): Hop {
  const contexts: Context[] = [];
  const audit = watchedAudit();
  const { log, entries } = collect();
  const note = (handler: Handler) => (message: Money, context: Context) => {
    contexts.push(context);
    return handler(message, context) as Money;
  };
  const guard = protect({ identity, trust, policy: policy(rules), audit, replay: memoryReplay({ now }), now });
  const server = createServer(implemented(note), { guard, log });
  return { identity, server, contexts, received: [], audit, entries };
}

/** A client of a hop that proves itself as an identity. */
export function link<Methods extends MethodDeclarations>(
  { now, trust }: World,
  contract: Service<Methods>,
  from: Identity,
  to: () => Hop,
  options: Partial<ProveOptions> & { readonly peer: string },
): Client<Methods> {
  const fetch = (url: string, init: RequestInit) => {
    const { method, headers, body } = init as { method: string; headers: Record<string, string>; body: string };
    const request = { url, method, headers, body };
    to().received.push(request);
    return to().server.fetch(requestOf(request));
  };
  const prover = prove({ identity: from, trust, now, ...options });
  return createClient(contract, fetchTransport("https://shop.test", { prover, fetch }), { timeoutMs: 20_000 });
}

export interface ShopOptions {
  /** What the gateway hands on to orders. */
  readonly delegate?: ProveOptions["delegate"];
  /** Whether the gateway has a right of its own to charge. @default {true} */
  readonly holdsRight?: boolean;
  readonly depth?: number;
  /** Between a call's arrival and the next one. */
  readonly work?: () => void;
  /** What orders does at payments. */
  readonly pay?: (payments: Client<typeof Payments extends Service<infer M> ? M : never>, message: Money) => unknown;
}

export async function shop(options: ShopOptions = {}) {
  const { work = () => {}, holdsRight = true, depth = 2 } = options;
  const {
    delegate = ({ message }) => ({ tools: { "payments.v1/charge": { amount: exact((message as Money).amount) } } }),
  } = options;
  const { pay = (payments, message) => payments.charge(message) } = options;
  const here = await world();
  const { now, authority } = here;
  const join = (name: string) => here.join(idOf(name), { serves: [`${name}.v1`] });
  const [web, gatewayId, ordersId, paymentsId] = await Promise.all(["web", "gateway", "orders", "payments"].map(join));
  const tools = { "payments.v1/charge": { amount: range({ min: 1, max: 100 }) } };
  const right = await issueCapability(authority, { holder: gatewayId!.id, tools, depth }, { now });

  const payments = serve(here, paymentsId!, (note) =>
    implement(Payments, {
      charge: note((message) => message),
      refund: note((message) => message),
    }), [allow({ caller: `spiffe://${DOMAIN}/*`, call: "payments.v1/*", capability: true })]);
  const toPayments = link(here, Payments, ordersId!, () => payments, { peer: payments.identity.id });
  const orders = serve(here, ordersId!, (note) =>
    implement(Orders, {
      place: note((message, context) => {
        work();
        return pay(context.call(toPayments), message);
      }),
    }), [allow({ caller: idOf("gateway"), call: "orders.v1/*" })]);
  const toOrders = link(here, Orders, gatewayId!, () => orders, {
    peer: orders.identity.id,
    delegate,
    ...holdsRight ? { capability: right } : {},
  });
  const gateway = serve(here, gatewayId!, (note) =>
    implement(Gateway, {
      checkout: note((message, context) => {
        work();
        return context.call(toOrders).place(message);
      }),
    }), [allow({ caller: idOf("web"), call: "gateway.v1/*" })]);
  const toGateway = link(here, Gateway, web!, () => gateway, { peer: gateway.identity.id });
  return { here, web: web!, right, gateway, orders, payments, toGateway, toOrders, toPayments };
}
