import type { Incoming } from "../rpc/mod.ts";
import { AuthError } from "./auth_error.ts";
import type { Workload } from "./wit.ts";

/**
 * Where there is a certificate too, both must be of the same workload.
 *
 * @throws {AuthError} `certificate_mismatch`.
 */
export function assertCertificate({ certificate }: Incoming, caller: Workload): void {
  const bound = caller.certificate;
  if (!certificate && bound === undefined) return;
  const isCallers = bound !== undefined
    ? certificate?.thumbprint === bound
    : certificate!.ids.length === 1 && certificate!.ids[0] === caller.id;
  if (!isCallers) {
    throw new AuthError("certificate_mismatch", "Cannot accept the request: the certificate is another's");
  }
}
