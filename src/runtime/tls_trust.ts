import { env } from "node:process";
import { readFileSync } from "node:fs";
import * as tls from "node:tls";
import type { FetchOptions } from "./runtime.ts";
import { checkCaCerts, checkClientCertificate } from "./runtime_fetch.ts";

/**
 * Whom `node:tls` is to trust, and which certificate it is to show.
 *
 * Made once for all connections: parsing the whole list takes 40 ms.
 *
 * @param options The caller's options.
 * @returns The context, or undefined for what the runtime does by itself.
 * @throws {TypeError} For text that is not a certificate as PEM, or a certificate without its key.
 */
export function tlsTrust(options: FetchOptions): tls.SecureContext | undefined {
  const caCerts = checkCaCerts(options);
  const own = checkClientCertificate(options);
  const ca = caCerts.length > 0 ? [...ownCaCerts(), ...caCerts] : undefined;
  return ca || own.cert ? tls.createSecureContext({ ca, ...own }) : undefined;
}

/** Whom the runtime trusts, which `ca` would replace. */
function ownCaCerts(): readonly string[] {
  // From Node 22.15; before it, the list leaves out what the environment adds.
  const { getCACertificates } = tls as Partial<typeof tls>;
  if (getCACertificates) return getCACertificates("default");
  const extra = env.NODE_EXTRA_CA_CERTS;
  return extra ? [...tls.rootCertificates, readFileSync(extra, "utf8")] : tls.rootCertificates;
}
