/**
 * The types of constraints, as `constraint_type` names them on the wire.
 *
 * `pathPrefix` is Postern's own, which its name says. The draft's `not_one_of` and `contains` are left out: what a token
 * excludes, it cannot have thought of completely.
 *
 * @see {@link https://datatracker.ietf.org/doc/draft-niyikiza-oauth-attenuating-agent-tokens/ | AAT}, section 3.4.
 */
export const CONSTRAINT_TYPES = {
  exact: "exact",
  oneOf: "one_of",
  range: "range",
  subset: "subset",
  pathPrefix: "urn:postern:path_prefix",
  all: "all",
  any: "any",
  wildcard: "wildcard",
} as const;

/** How deep constraints nest at most: one that holds no others has depth 1. Stops trees that exhaust the stack. */
export const MAX_CONSTRAINT_DEPTH = 8;

/** How many constraints one tool map holds at most, nested ones included. Stops trees that are costly to compare. */
export const MAX_CONSTRAINTS = 128;

/** How many values the lists of one tool map hold at most, all together. Stops lists that are costly to compare. */
export const MAX_CONSTRAINT_VALUES = 512;

/**
 * A value that a constraint compares an argument with. Numbers are finite, and whole ones are safe integers; strings are
 * well-formed. Arrays and objects are not compared.
 */
export type Scalar = string | number | boolean | null;

/** The argument is this value. Types count: `1` is not `"1"`; `-0` is `0`. */
export interface Exact {
  /** Tells the constraints apart. */
  readonly constraint_type: "exact";
  /** The one value. */
  readonly value: Scalar;
}

/** The argument is one of these values. */
export interface OneOf {
  /** Tells the constraints apart. */
  readonly constraint_type: "one_of";
  /** The values, at least one. */
  readonly values: readonly Scalar[];
}

/** The argument is a number between bounds, of which there is at least one. */
export interface Range {
  /** Tells the constraints apart. */
  readonly constraint_type: "range";
  /** The lower bound. */
  readonly min?: number;
  /** The upper bound, not below the lower one. */
  readonly max?: number;
  /**
   * Whether the lower bound itself is allowed; only where there is one.
   *
   * @default {true}
   */
  readonly min_inclusive?: boolean;
  /**
   * Whether the upper bound itself is allowed; only where there is one.
   *
   * @default {true}
   */
  readonly max_inclusive?: boolean;
}

/** The argument is an array, and each of its items is one of these values; an empty one always is. */
export interface Subset {
  /** Tells the constraints apart. */
  readonly constraint_type: "subset";
  /** What the items may be. */
  readonly allowed: readonly Scalar[];
}

/**
 * The argument is a path equal to the prefix or below it, by segments: `/a/b` covers `/a/b/c` and not `/a/bc`.
 *
 * Nothing is normalised. A path with an empty, `.` or `..` segment, a slash at its end, a backslash, a percent sign, a
 * control character or more than 4096 characters is under no prefix, because whoever opens it may read it as another.
 */
export interface PathPrefix {
  /** Tells the constraints apart. */
  readonly constraint_type: "urn:postern:path_prefix";
  /** A path by the same rules, or `/`, which covers every path that begins with a slash. */
  readonly prefix: string;
}

/** The argument satisfies every one of these constraints. */
export interface All {
  /** Tells the constraints apart. */
  readonly constraint_type: "all";
  /** The constraints, at least one. */
  readonly constraints: readonly Constraint[];
}

/** The argument satisfies at least one of these constraints. */
export interface AnyOf {
  /** Tells the constraints apart. */
  readonly constraint_type: "any";
  /** The constraints, at least one. */
  readonly constraints: readonly Constraint[];
}

/** The argument may be anything. */
export interface Wildcard {
  /** Tells the constraints apart. */
  readonly constraint_type: "wildcard";
}

/** What a capability says of one argument, as on the wire. */
export type Constraint = Exact | OneOf | Range | Subset | PathPrefix | All | AnyOf | Wildcard;

/** A constraint as a tool map names it for an argument. */
export type ConstraintEntry = Constraint & {
  /**
   * Whether a call may leave the argument out. The method's own default then applies, which no constraint sees.
   *
   * @default {false}
   */
  readonly optional?: boolean;
};
