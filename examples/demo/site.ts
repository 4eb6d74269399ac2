import { createClient, fetchTransport, type Server } from "@postern/rpc";
import { type Capability, type Identity, prove } from "@postern/rpc/auth";
import { createFetch, type RuntimeFetch, serve, type Serving } from "@postern/rpc/deno";
import { devCa, issueCertificate, makeCa } from "../../tools/dev_ca.ts";
import { GATEWAY, Gateway, ORDERS, PAYMENTS, Payments, WEB } from "../03_chain/contracts.ts";
import { createGateway } from "../03_chain/gateway.ts";
import { createOrders } from "../03_chain/orders.ts";
import { createPayments } from "../03_chain/payments.ts";
import { type Place, showCalls } from "../03_chain/place.ts";
import { createDomain, type Domain, handOn } from "./domain.ts";
import { type Proxy, startProxy } from "./proxy.ts";
import { type WatchedAudit, watchedAudit } from "./watched_audit.ts";

/** What a charge gives. */
export interface Receipt {
  readonly receipt: number;
  readonly cents: number;
}

/** Who calls, and by which right. */
export interface Holder {
  readonly identity: Identity;
  readonly right: Capability;
}

/** The chain of step 3 with a proxy between orders and payments: what the attacks are made on. */
export interface Site extends AsyncDisposable {
  readonly domain: Domain;
  /** The certificate of the development authority, and where that authority is. */
  readonly caPath: string;
  readonly fetch: RuntimeFetch;
  readonly proxy: Proxy;
  readonly paymentsUrl: string;
  /** Orders, and what it may charge at the moment. */
  readonly orders: Holder;
  /** What the services on both sides of the proxy recorded. */
  readonly audits: Readonly<Record<"orders" | "payments", WatchedAudit>>;
  /** Listens with the certificate of the development authority, until the site ends. */
  listen(server: Server): Promise<Serving>;
  /** The whole chain, as web starts it. */
  checkout(cents: number): Promise<Receipt>;
  /** The last call of the chain, as orders makes it through the proxy. */
  charge(cents: number): Promise<Receipt>;
}

/** Starts all of it on loopback. */
export async function startSite(show: (line: string) => unknown): Promise<Site> {
  await using started = new AsyncDisposableStack();
  const { ca, caPath, cert, key } = await devCa();
  const proxyCa = await makeCa("Whoever runs the proxy"); // clients trust it too, as on many a company's machines
  const fetch = started.use(createFetch({ caCerts: [ca, proxyCa.ca] }));
  const listen = (server: Server) => serve(server, { cert, key, port: 0 });
  const domain = await createDomain();

  const { trust } = domain;
  const place = async (id: string, ...serves: string[]) => {
    const identity = await domain.join({ id, serves });
    return { identity, trust, fetch, log: showCalls(show), audit: started.use(watchedAudit(identity)) };
  };
  const atPayments = await place(PAYMENTS, "payments.v1");
  const atOrders = await place(ORDERS, "orders.v1");
  const atGateway = await place(GATEWAY, "gateway.v1");

  const payments = started.use(await listen(createPayments(atPayments)));
  const certificate = await issueCertificate({ authority: proxyCa });
  const proxy = await startProxy({ url: payments.url, certificate, fetch });
  started.use(proxy.serving);
  const orders = started.use(await listen(createOrders(atOrders, proxy.url)));
  const options = { ordersUrl: orders.url, capability: domain.right };
  const gateway = started.use(await listen(createGateway(atGateway, options)));

  const right = await handOn(domain.right, atGateway.identity);
  const web = prove({ identity: await domain.join({ id: WEB }), trust, peer: GATEWAY });
  const shop = createClient(Gateway, fetchTransport(gateway.url, { prover: web, fetch }));
  const all = started.move();
  return {
    domain,
    caPath,
    fetch,
    proxy,
    paymentsUrl: payments.url,
    orders: { identity: atOrders.identity, right },
    audits: { orders: atOrders.audit, payments: atPayments.audit },
    listen: async (server) => all.use(await listen(server)),
    checkout: (cents) => shop.checkout({ item: "a kettle", cents }),
    charge: chargerOf(atOrders, { url: proxy.url, capability: right }),
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

/** Orders as a client of payments. */
function chargerOf({ fetch, ...place }: Place, { url, capability }: { url: string; capability: Capability }) {
  const prover = prove({ ...place, peer: PAYMENTS, capability });
  const payments = createClient(Payments, fetchTransport(url, { prover, fetch }));
  return (cents: number) => payments.charge({ cents });
}
