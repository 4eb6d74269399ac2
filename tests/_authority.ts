/** A development authority in memory, made once for each test file. */
import { type Certificate, issueCertificate, makeCa } from "../tools/dev_ca.ts";

/** A certificate for loopback and the authority that vouches for it. */
export interface TestAuthority extends Certificate {
  /** The authority's certificate, as PEM: what clients must trust. */
  readonly ca: string;
}

let made: Promise<TestAuthority> | undefined;

/** Makes the authority at the first call; later calls get the same. */
export function testAuthority(): Promise<TestAuthority> {
  return made ??= make();
}

async function make(): Promise<TestAuthority> {
  const authority = await makeCa("Postern test CA");
  return { ca: authority.ca, ...await issueCertificate({ authority }) };
}
