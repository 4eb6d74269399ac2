import type { Instance } from "../registry/mod.ts";

/** Whether an instance may be called at all; it sees what is signed, and nothing else. */
export type InstanceFilter = (instance: Instance) => boolean;

/**
 * Accepts instances of some regions.
 *
 * @param regions The regions; an instance that names none is in none.
 * @returns The filter.
 * @throws {TypeError} No region is given.
 */
export function inRegion(...regions: readonly string[]): InstanceFilter {
  if (regions.length === 0) throw new TypeError("Cannot filter by region: none is given");
  return ({ region }) => region !== undefined && regions.includes(region);
}

/** Which versions are accepted. */
export interface VersionRange {
  /** The first one. @default {the first of all} */
  readonly from?: string;
  /** The first one that is too new. @default {none is} */
  readonly below?: string;
}

/**
 * Accepts instances by their version, in the order of Semantic Versioning: a pre-release comes before its release.
 *
 * @example All of one major version
 * ```ts
 * import { inVersions } from "@postern/rpc/selector";
 *
 * const filter = inVersions({ from: "2.0.0", below: "3.0.0-0" });
 * ```
 *
 * @param range The versions.
 * @returns The filter.
 * @throws {TypeError} A version is malformed, or no version is in the range.
 * @see {@link https://semver.org/#spec-item-11}
 */
export function inVersions({ from, below }: VersionRange): InstanceFilter {
  const [first, end] = [from, below].map((version) => version === undefined ? undefined : parsed(version));
  if (!first && !end) throw new TypeError("Cannot filter by version: no limit is given");
  if (first && end && compare(first, end) >= 0) {
    throw new TypeError("Cannot filter by version: no version is in the range");
  }
  return (instance) => {
    const version = parsed(instance.version);
    return (!first || compare(version, first) >= 0) && (!end || compare(version, end) < 0);
  };
}

interface Version {
  readonly numbers: readonly number[];
  /** The parts of a pre-release; undefined for a release. */
  readonly before: readonly string[] | undefined;
}

function parsed(version: string): Version {
  const [, numbers, before] = VERSION.exec(version) ?? [];
  if (numbers === undefined) throw new TypeError(`Cannot filter by version: "${version}" is none`);
  return { numbers: numbers.split(".").map(Number), before: before?.split(".") };
}

function compare(one: Version, other: Version): number {
  for (let i = 0; i < 3; i++) {
    const difference = one.numbers[i]! - other.numbers[i]!;
    if (difference !== 0) return difference;
  }
  if (!one.before || !other.before) return Number(!one.before) - Number(!other.before);
  for (let i = 0; i < Math.max(one.before.length, other.before.length); i++) {
    const [a, b] = [one.before[i], other.before[i]];
    if (a === b) continue;
    if (a === undefined || b === undefined) return a === undefined ? -1 : 1;
    const [isNumber, isOtherNumber] = [/^\d+$/.test(a), /^\d+$/.test(b)];
    if (isNumber && isOtherNumber) return Number(a) - Number(b);
    if (isNumber !== isOtherNumber) return isNumber ? -1 : 1;
    return a < b ? -1 : 1;
  }
  return 0;
}

const VERSION = /^(\d{1,9}\.\d{1,9}\.\d{1,9})(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?$/;
