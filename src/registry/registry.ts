/** What a registry promises of the way to it; a host refuses one that promises less than it needs. */
export interface RegistryProperties {
  /** Whether what goes to and from it is encrypted, or never leaves the process. */
  readonly encrypted: boolean;
  /** Whether it knows who writes to it and who reads, and lets nobody else. */
  readonly accessControlled: boolean;
}

/** What a reader of a registry may give. */
export interface RegistryReadOptions {
  /** Ends the reading when it aborts. */
  readonly signal?: AbortSignal;
}

/**
 * Keeps the signed records of instances, by the names of the services that they serve.
 *
 * Nobody has to trust one: what it gives is verified by who reads it, so the worst that it can do is to withhold. An
 * implementation MUST give records as they were registered, MUST drop them when they have expired, and MUST bound what it
 * reads from a network in bytes and in time. It need not verify them.
 */
export interface Registry {
  /** What it promises of the way to it. */
  readonly properties: RegistryProperties;
  /**
   * Puts in a record, in place of an older one of the same instance.
   *
   * An implementation MUST NOT let an older record take the place of a newer one.
   *
   * @param record The signed record.
   * @returns What takes it out again when it is disposed; of the leases of one instance, only the last one does anything.
   * @throws {RegistryError} `malformed_record`, `wrong_namespace`, `rollback`, `read_only`, `too_many`, `unreachable`,
   * `refused` or `insecure`.
   */
  register(record: string): Promise<AsyncDisposable>;
  /**
   * The records of a service, in no order.
   *
   * @param service The service's name.
   * @param options What ends the reading.
   * @returns The records.
   * @throws {RegistryError} `unreachable`, `refused`, `too_many` or `insecure`.
   */
  resolve(service: string, options?: RegistryReadOptions): Promise<readonly string[]>;
  /**
   * Follows the records of a service: all of them at once, and all of them again whenever something changed.
   *
   * It ends when the signal aborts, without an error, and MUST throw when it cannot go on.
   *
   * @param service The service's name.
   * @param options What ends the watching.
   * @returns Whole snapshots; changes that come faster than they are read are taken together.
   */
  watch(service: string, options?: RegistryReadOptions): AsyncIterable<readonly string[]>;
  /**
   * The names of the services that have records.
   *
   * @param options What ends the reading.
   * @returns The names, sorted.
   * @throws {RegistryError} `unreachable`, `refused`, `too_many` or `insecure`.
   */
  list(options?: RegistryReadOptions): Promise<readonly string[]>;
}
