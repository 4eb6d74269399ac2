import { type Constraint, CONSTRAINT_TYPES, type ConstraintEntry, type Scalar } from "./constraint.ts";
import { cannotUse } from "./constraint_error.ts";
import { outermost, parseEntry } from "./constraint_parse.ts";

/** The bounds of {@linkcode range}; at least one of `min` and `max`. */
export interface RangeBounds {
  /** The lower bound. */
  readonly min?: number;
  /** The upper bound, not below the lower one. */
  readonly max?: number;
  /**
   * Whether the lower bound itself is allowed; only where there is one.
   *
   * @default {true}
   */
  readonly minInclusive?: boolean;
  /**
   * Whether the upper bound itself is allowed; only where there is one.
   *
   * @default {true}
   */
  readonly maxInclusive?: boolean;
}

/**
 * Allows one value.
 *
 * @param value A well-formed string, a finite number (a safe integer if whole), a boolean or `null`.
 * @throws {ConstraintError} The value is none of those.
 */
export function exact(value: Scalar): Constraint {
  return build("exact()", { constraint_type: CONSTRAINT_TYPES.exact, value });
}

/**
 * Allows some values.
 *
 * @param values At least one, each as for {@linkcode exact}.
 * @throws {ConstraintError} There is none, or one cannot be compared.
 */
export function oneOf(...values: readonly Scalar[]): Constraint {
  return build("oneOf()", { constraint_type: CONSTRAINT_TYPES.oneOf, values });
}

/**
 * Allows the numbers between bounds.
 *
 * @example From nothing, exclusively, to 500
 * ```ts
 * import { range } from "@postern/rpc/auth";
 *
 * range({ min: 0, minInclusive: false, max: 500 });
 * ```
 *
 * @param bounds The bounds; at least one.
 * @throws {ConstraintError} There is no bound, one is not a finite number, or they leave no room.
 */
export function range(bounds: RangeBounds): Constraint {
  const { min, max, minInclusive, maxInclusive, ...others } = bounds;
  // A misspelt bound that nobody looks at would be a right that nobody meant to give.
  if (Object.keys(others).length > 0) throw cannotUse("range()", "it has a bound that does not exist");
  const members = { min, max, min_inclusive: minInclusive, max_inclusive: maxInclusive };
  const given = Object.entries(members).filter(([, value]) => value !== undefined);
  return build("range()", { constraint_type: CONSTRAINT_TYPES.range, ...Object.fromEntries(given) });
}

/**
 * Allows arrays whose items are all among some values.
 *
 * @param allowed What the items may be, each as for {@linkcode exact}; with none, only the empty array is allowed.
 * @throws {ConstraintError} One cannot be compared.
 */
export function subset(...allowed: readonly Scalar[]): Constraint {
  return build("subset()", { constraint_type: CONSTRAINT_TYPES.subset, allowed });
}

/**
 * Allows a path and everything below it, segment by segment; nothing is normalised.
 *
 * @param prefix A path without empty, `.` or `..` segments, backslashes, percent signs, control characters and a slash
 *   at its end; `/` alone covers every path that begins with a slash.
 * @throws {ConstraintError} It is not such a path.
 */
export function pathPrefix(prefix: string): Constraint {
  return build("pathPrefix()", { constraint_type: CONSTRAINT_TYPES.pathPrefix, prefix });
}

/**
 * Allows what every one of some constraints allows.
 *
 * @param constraints At least one, none of them optional.
 * @throws {ConstraintError} There is none, one is not well-formed, or they nest too deep.
 */
export function allOf(...constraints: readonly Constraint[]): Constraint {
  return build("allOf()", { constraint_type: CONSTRAINT_TYPES.all, constraints });
}

/**
 * Allows what at least one of some constraints allows.
 *
 * @param constraints At least one, none of them optional.
 * @throws {ConstraintError} There is none, one is not well-formed, or they nest too deep.
 */
export function anyOf(...constraints: readonly Constraint[]): Constraint {
  return build("anyOf()", { constraint_type: CONSTRAINT_TYPES.any, constraints });
}

/** Allows everything. */
export function wildcard(): Constraint {
  return build("wildcard()", { constraint_type: CONSTRAINT_TYPES.wildcard });
}

/**
 * Lets a call leave the argument out; if it is there, it must satisfy the constraint.
 *
 * The method's own default then applies, so this is for arguments whose default is acceptable.
 *
 * @param constraint What the argument must satisfy where it is given.
 * @throws {ConstraintError} The constraint is not well-formed.
 */
export function optional(constraint: Constraint): ConstraintEntry {
  return Object.freeze({ ...build("optional()", constraint), optional: true });
}

function build(place: string, wire: unknown): Constraint {
  return parseEntry(wire, outermost(place));
}
