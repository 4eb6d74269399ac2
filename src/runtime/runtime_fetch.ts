import type { FetchOptions, RuntimeFetch } from "./runtime.ts";

/** How a runtime sends one request. */
export type SendRequest = (input: Request | URL | string, init?: RequestInit) => Promise<Response>;

/**
 * Refuses what no runtime would trust; some would ignore it and fail at the first call.
 *
 * @param options The caller's options.
 * @returns A copy of the authorities' certificates.
 * @throws {TypeError} For text that is not a certificate as PEM.
 */
export function checkCaCerts(options: FetchOptions): string[] {
  const caCerts = [...options.caCerts ?? []];
  for (const [index, pem] of caCerts.entries()) {
    if (typeof pem !== "string" || !pem.includes("-----BEGIN CERTIFICATE-----")) {
      throw new TypeError(
        `Cannot trust "caCerts[${index}]": it must be a certificate as PEM text, not the path of one`,
      );
    }
  }
  return caCerts;
}

/** A client's certificate and its private key, both as PEM, or neither. */
export type ClientCertificate =
  | { readonly cert: string; readonly key: string }
  | { readonly cert?: never; readonly key?: never };

/**
 * Refuses a certificate without its key, with which some runtimes would call as nobody.
 *
 * @param options The caller's options.
 * @returns The certificate and its key, or an empty object.
 * @throws {TypeError} For one without the other, or for text that is not PEM.
 */
export function checkClientCertificate(options: FetchOptions): ClientCertificate {
  const { cert, key } = options;
  if (cert === undefined && key === undefined) return {};
  for (const [name, value, label] of [["cert", cert, "CERTIFICATE"], ["key", key, "PRIVATE KEY"]] as const) {
    if (typeof value === "string" && value.includes("-----BEGIN ") && value.includes(`${label}-----`)) continue;
    throw new TypeError(
      `Cannot show a certificate: "${name}" must be a ${label.toLowerCase()} as PEM text, beside the other of the two`,
    );
  }
  return { cert, key } as ClientCertificate;
}

/**
 * Makes a {@linkcode RuntimeFetch} of a runtime's two halves.
 *
 * @param send How to send one request.
 * @param close How to close idle connections, once.
 * @returns The fetch.
 */
export function createRuntimeFetch(send: SendRequest, close: () => void): RuntimeFetch {
  let disposed = false;
  const runtimeFetch: SendRequest = (input, init) => {
    if (disposed) return Promise.reject(new TypeError("Cannot fetch: this fetch was disposed"));
    return send(input, init);
  };
  return Object.assign(runtimeFetch, {
    [Symbol.dispose]() {
      if (disposed) return;
      disposed = true;
      close();
    },
  });
}
