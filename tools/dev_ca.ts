/**
 * A certificate authority for development: `deno run -A tools/dev_ca.ts [folder]`.
 *
 * Postern has no plaintext mode, so a server on localhost needs a certificate that its clients trust. This makes one: a
 * P-256 authority (browsers refuse Ed25519) and one server certificate for `localhost`, `127.0.0.1` and `::1`. The
 * authority's private key signs that one certificate and is then forgotten: it is in no file, so whoever adds the
 * authority to a browser's trust store does not trust anything that can be stolen and used to sign other names.
 *
 * @module
 */
import "reflect-metadata"; // @peculiar/x509 2 needs it loaded first
import * as x509 from "@peculiar/x509";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const LIFETIME_MS = 30 * DAY_MS;
const RENEW_BEFORE_MS = DAY_MS;
/** RFC 5280 section 4.2.1.12. */
const USAGES = { server: "1.3.6.1.5.5.7.3.1", client: "1.3.6.1.5.5.7.3.2" } as const;
const KEY = { name: "ECDSA", namedCurve: "P-256" } as const;
const SIGNATURE = { name: "ECDSA", hash: "SHA-256" } as const;

/** The names a development server answers to. */
export const LOOPBACK_NAMES: readonly string[] = ["localhost", "127.0.0.1", "::1"];

/** An authority in memory, which can sign certificates. */
export interface Authority {
  /** The authority's certificate, as PEM. */
  readonly ca: string;
  /** The distinguished name it signs with. */
  readonly subject: string;
  /** The keys it signs with. */
  readonly keys: CryptoKeyPair;
}

/** A certificate and its private key, both as PEM. */
export interface Certificate {
  /** The certificate. */
  readonly cert: string;
  /** Its private key, PKCS #8. */
  readonly key: string;
}

/** What a certificate says and who signs it; {@linkcode issueCertificate} signs bad ones as readily as good ones. */
export interface CertificateOptions {
  /** Who signs it. @default the certificate's own key (self-signed) */
  readonly authority?: Authority;
  /** DNS names and IP addresses it is for. @default {LOOPBACK_NAMES} */
  readonly names?: readonly string[];
  /** URIs it is also for, such as SPIFFE IDs. @default none */
  readonly uris?: readonly string[];
  /** Which side of a connection it is for. @default {["server"]} */
  readonly usages?: readonly (keyof typeof USAGES)[];
  /** From when it is valid. @default an hour ago, for clocks that differ */
  readonly notBefore?: Date;
  /** Until when it is valid. @default 30 days from now */
  readonly notAfter?: Date;
}

/** A development authority and its server certificate on disk. */
export interface DevCa extends Certificate {
  /** The authority's certificate, as PEM: what clients must trust. */
  readonly ca: string;
  /** Where {@linkcode DevCa.ca} is. */
  readonly caPath: string;
  /** Where the certificate is. */
  readonly certPath: string;
  /** Where the private key is, readable by its owner only. */
  readonly keyPath: string;
}

/**
 * Makes an authority in memory.
 *
 * @param name Its common name.
 * @returns The authority with its keys.
 */
export async function makeCa(name = "Postern development CA"): Promise<Authority> {
  const keys = await generateKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    ...validity({}),
    serialNumber: serialNumber(),
    name: [{ CN: [name] }],
    signingAlgorithm: SIGNATURE,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { ca: pem(certificate), subject: certificate.subject, keys };
}

/**
 * Signs a certificate for one end of a connection, good or bad.
 *
 * @param options What it says and who signs it.
 * @returns The certificate and its key.
 */
export async function issueCertificate(options: CertificateOptions = {}): Promise<Certificate> {
  const keys = await generateKeys();
  const names = options.names ?? LOOPBACK_NAMES;
  const subject = new x509.Name([{ CN: [names[0]] }]).toString();
  const signer = options.authority ?? { subject, keys };
  const certificate = await x509.X509CertificateGenerator.create({
    ...validity(options),
    serialNumber: serialNumber(),
    subject,
    issuer: signer.subject,
    signingAlgorithm: SIGNATURE,
    publicKey: keys.publicKey,
    signingKey: signer.keys.privateKey,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension((options.usages ?? ["server"]).map((usage) => USAGES[usage])),
      new x509.SubjectAlternativeNameExtension([
        ...names.map(alternativeName),
        ...(options.uris ?? []).map((value) => ({ type: "url" as const, value })),
      ]),
      await x509.AuthorityKeyIdentifierExtension.create(signer.keys.publicKey),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { cert: pem(certificate), key: await privateKeyPem(keys.privateKey) };
}

/**
 * The development authority in a folder, made or renewed where there is none that lasts another day.
 *
 * Safe to call from several processes at once: one makes it while the others wait, and no reader ever sees half a file.
 *
 * @param dir The folder; keep it out of version control.
 * @returns The certificates and where they are.
 */
export async function devCa(dir = ".dev/ca"): Promise<DevCa> {
  await Deno.mkdir(dir, { recursive: true, mode: 0o700 });
  // The lock belongs to the open file, so it also ends with a process that dies holding it.
  using lock = await Deno.open(`${dir}/lock`, { create: true, write: true });
  await lock.lock(true);
  const paths = { caPath: `${dir}/ca.pem`, certPath: `${dir}/server.pem`, keyPath: `${dir}/server.key` };
  const present = await readWhole(dir, paths);
  if (present) return present;
  const authority = await makeCa();
  const made = { ca: authority.ca, ...await issueCertificate({ authority }), ...paths };
  // The marker vouches for the other three, so it goes first and comes last.
  await Deno.remove(markerPath(dir)).catch(ignoreAbsent);
  await replaceFile(paths.keyPath, made.key, 0o600);
  await replaceFile(paths.certPath, made.cert, 0o644);
  await replaceFile(paths.caPath, made.ca, 0o644);
  await replaceFile(markerPath(dir), await marker(made), 0o644);
  return made;
}

type Paths = Pick<DevCa, "caPath" | "certPath" | "keyPath">;

async function readWhole(dir: string, paths: Paths): Promise<DevCa | undefined> {
  try {
    const [ca, cert, key, expected] = await Promise.all(
      [paths.caPath, paths.certPath, paths.keyPath, markerPath(dir)].map((path) => Deno.readTextFile(path)),
    );
    const found = { ca, cert, key, ...paths };
    return expected === await marker(found) && lastsAnotherDay(ca) && lastsAnotherDay(cert) ? found : undefined;
  } catch (error) {
    ignoreAbsent(error);
    return undefined;
  }
}

function lastsAnotherDay(certificate: string): boolean {
  return new x509.X509Certificate(certificate).notAfter.getTime() > Date.now() + RENEW_BEFORE_MS;
}

/** One digest over all three files, so that files of two generations never pass for one. */
async function marker(files: Pick<DevCa, "ca" | "cert" | "key">): Promise<string> {
  const bytes = new TextEncoder().encode(JSON.stringify([files.ca, files.cert, files.key]));
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex() + "\n";
}

function markerPath(dir: string): string {
  return `${dir}/complete`;
}

async function replaceFile(path: string, text: string, mode: number): Promise<void> {
  const temporary = `${path}.${crypto.randomUUID()}.tmp`;
  await Deno.writeTextFile(temporary, text, { createNew: true, mode });
  await Deno.rename(temporary, path);
}

function ignoreAbsent(error: unknown): void {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}

function validity(options: CertificateOptions): { notBefore: Date; notAfter: Date } {
  return {
    notBefore: options.notBefore ?? new Date(Date.now() - HOUR_MS),
    notAfter: options.notAfter ?? new Date(Date.now() + LIFETIME_MS),
  };
}

/** 127 random bits, positive and of one length whatever the bits are. */
function serialNumber(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[0] = bytes[0] & 0x7f | 0x40;
  return bytes.toHex();
}

function alternativeName(value: string): { type: "ip" | "dns"; value: string } {
  const isAddress = value.includes(":") || /^\d+(\.\d+){3}$/.test(value);
  return { type: isAddress ? "ip" : "dns", value };
}

function generateKeys(): Promise<CryptoKeyPair> {
  return crypto.subtle.generateKey(KEY, true, ["sign", "verify"]) as Promise<CryptoKeyPair>;
}

function pem(certificate: x509.X509Certificate): string {
  return certificate.toString("pem") + "\n";
}

async function privateKeyPem(key: CryptoKey): Promise<string> {
  const base64 = new Uint8Array(await crypto.subtle.exportKey("pkcs8", key)).toBase64();
  const lines = base64.match(/.{1,64}/g) ?? [];
  return ["-----BEGIN PRIVATE KEY-----", ...lines, "-----END PRIVATE KEY-----", ""].join("\n");
}

if (import.meta.main) {
  console.log((await devCa(Deno.args[0])).caPath);
}
