import { createClient, fetchTransport, RpcError } from "@postern/rpc";
import { prove } from "@postern/rpc/auth";
import type { Prover } from "@postern/rpc/rpc";
import { PAYMENTS, Payments } from "../03_chain/contracts.ts";
import type { Holder, Receipt, Site } from "./site.ts";

/** One attack, what must come of it, and the honest call beside it. */
export interface Attack {
  /** What the attacker does. */
  readonly what: string;
  /** Does it, and gives what each of its victims, or the attacker, is told. */
  attempt(site: Site): Promise<readonly Refusal[]>;
  /** The code that they are told. */
  readonly code: string;
  /** All that is recorded meanwhile, as `service event reason`. */
  readonly recorded: readonly string[];
  /** The same without the evil, which must succeed. */
  honest(site: Site): Promise<readonly Receipt[]>;
}

/** What a caller is told. */
export interface Refusal {
  readonly code: string;
  readonly message: string;
}

/** Makes calls at once that must all fail. */
export async function refusals(...calls: readonly Promise<unknown>[]): Promise<readonly Refusal[]> {
  const outcomes = await Promise.allSettled(calls);
  return outcomes.map((outcome) => {
    if (outcome.status === "fulfilled") throw new Error("This call must not succeed");
    if (!(outcome.reason instanceof RpcError)) throw outcome.reason;
    return outcome.reason;
  });
}

/** Charges with an attacker's own program: one that signs as ours do, and believes every answer. */
export function chargeWith(
  { identity, right }: Holder,
  { domain: { trust }, paymentsUrl, fetch }: Site,
  cents = 100,
): Promise<Receipt> {
  const signing = prove({ identity, trust, peer: PAYMENTS, capability: right });
  const prover: Prover = { prove: async (request) => ({ headers: (await signing.prove(request)).headers }) };
  return createClient(Payments, fetchTransport(paymentsUrl, { prover, fetch })).charge({ cents });
}
