// `deno task chain`: web → gateway → orders → payments, four identities and three servers.
import { createClient, fetchTransport, type Server } from "@postern/rpc";
import { issueCapability, prove, range } from "@postern/rpc/auth";
import { createFetch, serve } from "@postern/rpc/deno";
import { devCa } from "../../tools/dev_ca.ts";
import { authority, join, trust } from "../02_identity/authority.ts";
import { GATEWAY, Gateway, ORDERS, PAYMENTS, WEB } from "./contracts.ts";
import { createGateway } from "./gateway.ts";
import { createOrders } from "./orders.ts";
import { createPayments } from "./payments.ts";
import { type Place, showCalls } from "./place.ts";

const { ca, cert, key } = await devCa();
using fetch = createFetch({ caCerts: [ca] });
const log = showCalls(console.log);
const place = async (id: string, ...serves: string[]): Promise<Place> => {
  return { identity: await join(id, serves), trust, fetch, log };
};
const listen = (server: Server) => serve(server, { cert, key, port: 0 });

const capability = await issueCapability(authority, {
  holder: GATEWAY,
  tools: { "payments.v1/charge": { cents: range({ min: 1, max: 50_000 }) } },
});

await using payments = await listen(createPayments(await place(PAYMENTS, "payments.v1")));
await using orders = await listen(createOrders(await place(ORDERS, "orders.v1"), payments.url));
const atGateway = await place(GATEWAY, "gateway.v1");
await using gateway = await listen(createGateway(atGateway, { ordersUrl: orders.url, capability }));

const prover = prove({ identity: await join(WEB), trust, peer: GATEWAY });
const shop = createClient(Gateway, fetchTransport(gateway.url, { prover, fetch }));
const { receipt, cents } = await shop.checkout({ item: "a kettle", cents: 4_500 });
console.log(`Receipt ${receipt} for ${cents} cents`);
