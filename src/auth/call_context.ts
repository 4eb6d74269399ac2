import type { Origin } from "../rpc/mod.ts";
import { AuthError } from "./auth_error.ts";
import { readChain } from "./capability.ts";
import { readCapability } from "./capability_token.ts";
import type { Identity } from "./identity.ts";
import { thumbprintOf } from "./public_key.ts";
import type { RequestParts } from "./request_signature.ts";
import { secret } from "./secret.ts";
import { parseWorkloadId } from "./spiffe_id.ts";
import { CALLERS_HEADER, CHAIN_SEPARATOR, DELEGATION_HEADER, HOLDER_MEMBER, TRACE_HEADER } from "./wire.ts";

/**
 * What a proven request says it is part of.
 *
 * @param parts The request.
 * @param coversTrace Whether the proof covers the trace; one that it does not cover counts for nothing.
 * @throws {AuthError} `malformed_context`: callers that are none, or a right that was not handed to this service.
 */
export function readOrigin(parts: RequestParts, coversTrace: boolean, identity: Identity): Origin {
  const delegation = parts.header(DELEGATION_HEADER);
  if (delegation != null) assertHandedTo(identity, delegation);
  return {
    traceparent: coversTrace ? parts.header(TRACE_HEADER) ?? undefined : undefined,
    callers: readCallers(parts.header(CALLERS_HEADER)),
    delegation: delegation == null ? undefined : secret(delegation),
  };
}

/** The identities as a structured field: a list of strings (RFC 9651, section 3.1). */
export const writeCallers = (callers: readonly string[]): string => callers.map((id) => `"${id}"`).join(", ");

function readCallers(value: string | null | undefined): readonly string[] {
  if (value == null) return [];
  const callers = value.split(", ").map((item) => CALLER.exec(item)?.[1] ?? "");
  if (callers.length > MAX_CALLERS) throw malformed("it came through too many services");
  for (const id of callers) {
    try {
      parseWorkloadId(id);
    } catch (cause) {
      throw new AuthError("malformed_context", "Cannot accept the call: who it came through is malformed", { cause });
    }
  }
  return callers;
}

/** Whatever is handed on goes out again with calls of this service, so that it must at least be this service's. */
function assertHandedTo(identity: Identity, chain: string): void {
  try {
    readChain(secret(chain));
    const { jwk, [HOLDER_MEMBER]: id } = readCapability(chain.slice(chain.lastIndexOf(CHAIN_SEPARATOR) + 1)).claims.cnf;
    if (jwk ? thumbprintOf(jwk) === identity.key.thumbprint : id === identity.id) return;
  } catch (cause) {
    throw new AuthError("malformed_context", "Cannot accept the call: the right that came with it is malformed", {
      cause,
    });
  }
  throw malformed("the right that came with it was handed to another");
}

const malformed = (why: string) => new AuthError("malformed_context", `Cannot accept the call: ${why}`);

const CALLER = /^"([^"]{1,2048})"$/;

/** A call that came through more services than this goes in circles. */
export const MAX_CALLERS = 16;
