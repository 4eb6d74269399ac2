import { createServer, implement } from "@postern/rpc";
import { allow, policy, protect } from "@postern/rpc/auth";
import { ORDERS, PAYMENTS, Payments } from "../03_chain/contracts.ts";
import { type Attack, refusals } from "./attack.ts";
import type { Meddle } from "./proxy.ts";
import type { Site } from "./site.ts";

export const tamperedBody: Attack = {
  what: "Tampered body: the proxy makes 900 cents of 100 on the way to payments",
  attempt: async ({ proxy, charge }) => await refusals(proxy.during(raise, () => charge(100))),
  code: "unavailable",
  recorded: ["payments call.refuse bad_digest", "orders answer.refuse unsigned"],
  honest: async ({ charge }) => [await charge(100)],
};

export const swappedResponse: Attack = {
  what: "Swapped response: two calls at once, and the proxy gives each the answer to the other",
  attempt: ({ proxy, charge }) => proxy.during(swap(), () => refusals(charge(100), charge(200))),
  code: "unavailable",
  recorded: [
    "payments call.allow",
    "payments call.allow",
    "orders answer.refuse wrong_exchange",
    "orders answer.refuse wrong_exchange",
  ],
  honest: ({ charge }) => Promise.all([charge(100), charge(200)]),
};

export const rogueServer: Attack = {
  what: "Rogue server: a valid certificate and a valid identity of example.org, but not the one that was meant",
  async attempt(site) {
    const rogue = await startRogue(site);
    const told = await site.proxy.during(
      (request, send) => send(request, rogue.url),
      () => refusals(site.charge(100)),
    );
    if (rogue.taken() === 0) throw new Error("The rogue server must have taken the call");
    return told;
  },
  code: "unavailable",
  recorded: ["orders answer.refuse wrong_peer"],
  honest: async ({ charge }) => [await charge(100)],
};

/** Changes one byte: `{"cents":100}`. */
const raise: Meddle = (request, send) => {
  const body = request.body.slice();
  body[body.indexOf("1".charCodeAt(0))] = "9".charCodeAt(0);
  return send({ ...request, body });
};

function swap(): Meddle {
  const answers = [Promise.withResolvers<Response>(), Promise.withResolvers<Response>()] as const;
  let calls = 0;
  return async (request, send) => {
    const [own, other] = calls++ === 0 ? answers : [answers[1], answers[0]];
    own.resolve(await send(request));
    return await other.promise;
  };
}

/** Staging's payments: it may serve the contract, takes what was meant for another, and forgets what it saw. */
async function startRogue({ domain, listen }: Site): Promise<{ readonly url: string; taken(): number }> {
  let taken = 0;
  const payments = implement(Payments, { charge: ({ cents }) => ({ receipt: ++taken, cents }) });
  const guard = protect({
    identity: await domain.join({ id: "spiffe://example.org/staging/payments", serves: ["payments.v1"] }),
    trust: domain.trust,
    audiences: [PAYMENTS],
    policy: policy([allow({ caller: ORDERS, call: "payments.v1/*" })]),
    replay: { sinceMs: 0, take() {} },
  });
  const { url } = await listen(createServer(payments, { guard }));
  return { url, taken: () => taken };
}
