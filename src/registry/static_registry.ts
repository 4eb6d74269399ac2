import { readRecord } from "./record.ts";
import type { Registry, RegistryReadOptions } from "./registry.ts";
import { RegistryError } from "./registry_error.ts";

/**
 * Reads records from a text: of a file, or of an environment variable.
 *
 * The records are signed like all others; where nobody keeps them fresh, the trust domain's authority signs them for
 * longer, with `issueRecord`. A text that was tampered with can withhold and no more.
 *
 * @param text The records, white space between them.
 * @param options The clock, in milliseconds since 1970.
 * @returns The registry; nothing can be registered with it.
 * @throws {RegistryError} `malformed_record`: something in the text is no record, or there is none.
 */
export function staticRegistry(text: string, { now = Date.now }: { readonly now?: () => number } = {}): Registry {
  const records = text.split(/\s+/).filter((each) => each !== "").map((record) => {
    const { services, exp } = readRecord(record).claims;
    return { record, services: Object.keys(services), expiresAtMs: exp * 1_000 };
  });
  if (records.length === 0) throw new RegistryError("malformed_record", "Cannot read the records: there is none");
  const live = () => records.filter(({ expiresAtMs }) => expiresAtMs > now());
  const recordsOf = (service: string) =>
    live().filter(({ services }) => services.includes(service)).map(({ record }) => record);
  return {
    properties: { encrypted: true, accessControlled: true },
    register: () => Promise.reject(new RegistryError("read_only", "Cannot register with a list that does not change")),
    resolve: (service) => Promise.resolve(recordsOf(service)),
    watch: (service, options) => once(recordsOf(service), options),
    list: () => Promise.resolve([...new Set(live().flatMap(({ services }) => services))].sort()),
  };
}

/** All that there is, and then nothing until nobody wants to know any more. */
async function* once(records: readonly string[], { signal }: RegistryReadOptions = {}) {
  if (signal?.aborted) return;
  yield records;
  if (signal?.aborted) return;
  await new Promise((resolve) => signal?.addEventListener("abort", resolve, { once: true }));
}
