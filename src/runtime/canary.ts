/**
 * The start-up canary: proof, before the first call, that this process refuses a certificate nobody signed.
 *
 * Environment variables and flags switch verification off for a whole process, silently, and everything would work on.
 */

/** A listener for {@linkcode assertCanaryRefused} on a free port of 127.0.0.1, with the canary's certificate. */
export interface Canary {
  /** The port it listens on. */
  readonly port: number;
  /** Closes the listener and every connection to it. */
  close(): Promise<void> | void;
}

/** What differs between runtimes: how to listen and how a refused certificate looks. */
export interface CanaryRuntime {
  /** Starts the listener. */
  listen(): Promise<Canary> | Canary;
  /** Whether `fetch` failed with this error because of the certificate, and for no other reason. */
  refusedCertificate(error: unknown): boolean;
  /** What switches verification off on this runtime and how to undo it, as the end of a sentence. */
  readonly fix: string;
}

const TIMEOUT_MS = 5_000;

/**
 * Fetches the canary and requires that its certificate, and nothing else, made that fail.
 *
 * @param runtime What differs between runtimes.
 * @throws {Error} When the fetch succeeded, or when it failed for a reason that leaves the question open.
 */
export async function assertCanaryRefused(runtime: CanaryRuntime): Promise<void> {
  const canary = await listen(runtime);
  try {
    // The global fetch, not one of ours: it is what shows how the process is configured.
    const response = await fetch(`https://127.0.0.1:${canary.port}/`, {
      redirect: "manual",
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    await response.body?.cancel();
  } catch (error) {
    if (runtime.refusedCertificate(error)) return;
    throw new Error(`${UNCHECKED}: ${reasonOf(error)}`, { cause: error });
  } finally {
    await canary.close();
  }
  throw new Error(
    `Certificate verification is off: this process accepts a certificate that nobody signed; ${runtime.fix}`,
  );
}

const UNCHECKED = "Cannot check that this process verifies certificates, so it must not serve";

async function listen(runtime: CanaryRuntime): Promise<Canary> {
  try {
    return await runtime.listen();
  } catch (error) {
    throw new Error(`${UNCHECKED}: ${reasonOf(error)}`, { cause: error });
  }
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.name === "NotCapable" || error.name === "PermissionDenied") {
    return "the check needs the permission --allow-net=127.0.0.1 for a listener of its own on loopback";
  }
  const cause = error.cause instanceof Error ? ` (${error.cause.message})` : "";
  return `a fetch of https://127.0.0.1 failed for a reason other than the certificate: ${error.message}${cause}; ` +
    "if HTTPS_PROXY is set, set NO_PROXY=127.0.0.1";
}

/** The codes by which OpenSSL and BoringSSL say that a chain ends in nobody they trust. */
const UNTRUSTED_CODES: ReadonlySet<unknown> = new Set([
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
]);

/**
 * Whether an error, or what caused it, is a chain that ends in nobody trusted (Node and Bun).
 *
 * @param error What `fetch` failed with.
 * @returns Whether its certificate was the reason.
 */
export function isUntrustedCode(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause) {
    if (UNTRUSTED_CODES.has((at as { code?: unknown }).code)) return true;
  }
  return false;
}
