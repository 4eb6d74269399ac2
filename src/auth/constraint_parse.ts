import {
  type Constraint,
  CONSTRAINT_TYPES,
  type ConstraintEntry,
  MAX_CONSTRAINT_DEPTH,
  MAX_CONSTRAINT_VALUES,
  MAX_CONSTRAINTS,
  type Range,
  type Scalar,
} from "./constraint.ts";
import { isExactNumber } from "./constraint_check.ts";
import { cannotUse } from "./constraint_error.ts";
import { isCleanPath } from "./constraint_path.ts";

/** Where a constraint stands, and what its tool map has used up so far. */
export interface Position {
  /** The place as errors name it. */
  readonly place: string;
  /** How deep the constraint is nested, from 1. */
  readonly depth: number;
  /** Counts for the whole tool map, which parsing moves on. */
  readonly used: Used;
}

/** How much of its limits a tool map has used up. */
export interface Used {
  /** Constraints, nested ones included. */
  constraints: number;
  /** Values in lists. */
  values: number;
}

/** The position of a constraint that nothing surrounds. */
export function outermost(place: string, used: Used = { constraints: 0, values: 0 }): Position {
  return { place, depth: 1, used };
}

/** Reads a constraint as a tool map holds it, where it may be optional; the result is a frozen copy. */
export function parseEntry(value: unknown, at: Position): ConstraintEntry {
  const members = membersOf(value, at.place);
  if (!members.has("optional")) return readConstraint(members, at);
  const optional = asBoolean(members.get("optional"), at.place + ".optional");
  members.delete("optional");
  return Object.freeze({ ...readConstraint(members, at), optional });
}

/** Whether a value is an object as JSON has them, of no class. */
export function isPlainObject(value: unknown): value is Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null) return false;
  const prototype = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

/** The members of an object by name, each read once. */
export function membersOf(value: unknown, place: string): Map<string, unknown> {
  if (!isPlainObject(value)) throw cannotUse(place, "it must be an object");
  return new Map(Object.entries(value));
}

const EXACT_NUMBER = "it must be a finite number, and a safe integer if it is whole";

type Members = ReadonlyMap<string, unknown>;

/** How a type of constraint is read, and which members it has. */
interface Reader {
  readonly members: readonly string[];
  readonly read: (members: Members, at: Position) => Constraint;
}

const READERS: ReadonlyMap<unknown, Reader> = new Map<unknown, Reader>([
  [CONSTRAINT_TYPES.exact, { members: ["value"], read: readExact }],
  [CONSTRAINT_TYPES.oneOf, { members: ["values"], read: readOneOf }],
  [CONSTRAINT_TYPES.range, { members: ["min", "max", "min_inclusive", "max_inclusive"], read: readRange }],
  [CONSTRAINT_TYPES.subset, { members: ["allowed"], read: readSubset }],
  [CONSTRAINT_TYPES.pathPrefix, { members: ["prefix"], read: readPathPrefix }],
  [CONSTRAINT_TYPES.all, { members: ["constraints"], read: readComposite }],
  [CONSTRAINT_TYPES.any, { members: ["constraints"], read: readComposite }],
  [CONSTRAINT_TYPES.wildcard, { members: [], read: () => ({ constraint_type: CONSTRAINT_TYPES.wildcard }) }],
]);

function readConstraint(members: Members, at: Position): Constraint {
  if (at.depth > MAX_CONSTRAINT_DEPTH) {
    throw cannotUse(at.place, `it nests deeper than the ${MAX_CONSTRAINT_DEPTH} levels allowed`);
  }
  if (++at.used.constraints > MAX_CONSTRAINTS) {
    throw cannotUse(at.place, `it is one more than the ${MAX_CONSTRAINTS} constraints allowed`);
  }
  const reader = READERS.get(members.get("constraint_type"));
  // A constraint that is not understood is a restriction all the same, so nothing is skipped.
  if (reader === undefined) throw cannotUse(at.place, 'its "constraint_type" is not a known one');
  const known = ["constraint_type", ...reader.members];
  if (![...members.keys()].every((name) => known.includes(name))) {
    throw cannotUse(at.place, `it has a member that is none of ${known.join(", ")}`);
  }
  return Object.freeze(reader.read(members, at));
}

function readExact(members: Members, { place }: Position): Constraint {
  return { constraint_type: CONSTRAINT_TYPES.exact, value: asScalar(members.get("value"), place + ".value") };
}

function readOneOf(members: Members, { place, used }: Position): Constraint {
  const values = asScalars(members.get("values"), { place: place + ".values", used });
  if (values.length === 0) throw cannotUse(place + ".values", "it is empty, so it could never be satisfied");
  return { constraint_type: CONSTRAINT_TYPES.oneOf, values };
}

function readSubset(members: Members, { place, used }: Position): Constraint {
  const allowed = asScalars(members.get("allowed"), { place: place + ".allowed", used });
  return { constraint_type: CONSTRAINT_TYPES.subset, allowed };
}

function readPathPrefix(members: Members, { place }: Position): Constraint {
  const prefix = members.get("prefix");
  if (typeof prefix !== "string" || !isCleanPath(prefix)) {
    throw cannotUse(place + ".prefix", "it must be a path that needs no normalisation");
  }
  return { constraint_type: CONSTRAINT_TYPES.pathPrefix, prefix };
}

function readRange(members: Members, { place }: Position): Constraint {
  const bounds = { ...readBound("min", members, place), ...readBound("max", members, place) };
  const { min, max } = bounds;
  if (min === undefined && max === undefined) throw cannotUse(place, 'it has neither "min" nor "max"');
  if (min !== undefined && max !== undefined && min > max) {
    throw cannotUse(place, 'its "min" is greater than its "max"');
  }
  return { constraint_type: CONSTRAINT_TYPES.range, ...bounds };
}

function readBound(name: "min" | "max", members: Members, place: string): Partial<Range> {
  const flag = `${name}_inclusive` as const;
  if (!members.has(name)) {
    if (members.has(flag)) throw cannotUse(`${place}.${flag}`, `it is there without "${name}"`);
    return {};
  }
  const bound = members.get(name);
  if (!isExactNumber(bound)) throw cannotUse(`${place}.${name}`, EXACT_NUMBER);
  return { [name]: bound, ...(members.has(flag) ? { [flag]: asBoolean(members.get(flag), `${place}.${flag}`) } : {}) };
}

function readComposite(members: Members, at: Position): Constraint {
  const place = at.place + ".constraints";
  const clauses = asArray(members.get("constraints"), place);
  if (clauses.length === 0) throw cannotUse(place, "it is empty, so it constrains nothing");
  // Unlike map(), from() also sees the holes of a sparse array.
  const constraints = Array.from(clauses, (clause, index) => {
    const inside = { place: `${place}[${index}]`, depth: at.depth + 1, used: at.used };
    return readConstraint(membersOf(clause, inside.place), inside);
  });
  const constraint_type = members.get("constraint_type") as typeof CONSTRAINT_TYPES["all" | "any"];
  return { constraint_type, constraints: Object.freeze(constraints) };
}

function asScalars(value: unknown, { place, used }: Omit<Position, "depth">): readonly Scalar[] {
  const items = asArray(value, place);
  used.values += items.length;
  if (used.values > MAX_CONSTRAINT_VALUES) {
    throw cannotUse(place, `with it there are more than the ${MAX_CONSTRAINT_VALUES} values allowed`);
  }
  return Object.freeze(Array.from(items, (item, index) => asScalar(item, `${place}[${index}]`)));
}

function asScalar(value: unknown, place: string): Scalar {
  if (value === null || typeof value === "boolean" || isExactNumber(value)) return value;
  if (typeof value === "string" && value.isWellFormed()) return value;
  throw cannotUse(place, "it must be a well-formed string, an exact number, a boolean or null");
}

function asArray(value: unknown, place: string): readonly unknown[] {
  if (!Array.isArray(value)) throw cannotUse(place, "it must be an array");
  return value;
}

function asBoolean(value: unknown, place: string): boolean {
  if (typeof value !== "boolean") throw cannotUse(place, "it must be true or false");
  return value;
}
