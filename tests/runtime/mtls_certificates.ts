/** Certificates for the tests of mutual TLS: good ones, bad ones, and some that no authority should sign. */
import "reflect-metadata"; // @peculiar/x509 2 needs it loaded first
import * as x509 from "@peculiar/x509";
import { X509Certificate } from "node:crypto";
import { type Authority, type Certificate, issueCertificate } from "../../tools/dev_ca.ts";

const HOUR_MS = 3_600_000;
const CLIENT_AUTH = "1.3.6.1.5.5.7.3.2";

/** Signs a client's certificate. */
export function issueClient(
  authority: Authority | undefined,
  uris: readonly string[],
  dates: { readonly notBefore?: Date; readonly notAfter?: Date } = {},
): Promise<Certificate> {
  return issueCertificate({ ...authority && { authority }, usages: ["client"], uris, ...dates });
}

/** Dates that are over. */
export function past(): { readonly notBefore: Date; readonly notAfter: Date } {
  return { notBefore: new Date(Date.now() - 2 * HOUR_MS), notAfter: new Date(Date.now() - HOUR_MS) };
}

/** A name of a certificate. */
export interface CraftedName {
  readonly type: "dns" | "email" | "url";
  readonly value: string;
}

/** A certificate with which others can be signed, although it is no authority's. */
export interface CraftedCertificate extends Certificate, Omit<Authority, "ca"> {}

/** Signs a client's certificate with names as they are given, in one extension for each list. */
export async function craftClient(
  authority: Authority,
  ...names: readonly (readonly CraftedName[])[]
): Promise<CraftedCertificate> {
  const keys = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, true, ["sign", "verify"]);
  const certificate = await x509.X509CertificateGenerator.create({
    notBefore: new Date(Date.now() - HOUR_MS),
    notAfter: new Date(Date.now() + HOUR_MS),
    serialNumber: "4a",
    subject: "CN=crafted",
    issuer: authority.subject,
    signingAlgorithm: { name: "ECDSA", hash: "SHA-256" },
    publicKey: keys.publicKey,
    signingKey: authority.keys.privateKey,
    extensions: [
      new x509.ExtendedKeyUsageExtension([CLIENT_AUTH]),
      ...names.map((list) => new x509.SubjectAlternativeNameExtension([...list])),
    ],
  });
  const key = new Uint8Array(await crypto.subtle.exportKey("pkcs8", keys.privateKey)).toBase64();
  const lines = key.match(/.{1,64}/g) ?? [];
  return {
    subject: certificate.subject,
    keys,
    cert: certificate.toString("pem") + "\n",
    key: ["-----BEGIN PRIVATE KEY-----", ...lines, "-----END PRIVATE KEY-----", ""].join("\n"),
  };
}

/** A certificate's DER. */
export function derOf({ cert }: { readonly cert: string }): Uint8Array {
  return new Uint8Array(new X509Certificate(cert).raw);
}

/** A certificate as RFC 9440 writes it. */
export function headerOf(certificate: { readonly cert: string }): string {
  return `:${derOf(certificate).toBase64()}:`;
}

/** A certificate's `x5t#S256`. */
export function thumbprintOf({ cert }: { readonly cert: string }): string {
  const digest = new X509Certificate(cert).fingerprint256.replaceAll(":", "");
  return Uint8Array.fromHex(digest).toBase64({ alphabet: "base64url", omitPadding: true });
}
