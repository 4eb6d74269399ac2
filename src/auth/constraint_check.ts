import { type Constraint, CONSTRAINT_TYPES, type Range } from "./constraint.ts";
import { isCleanPath, isWithin } from "./constraint_path.ts";

/** Whether an argument satisfies a constraint; what a constraint does not understand does not satisfy it. */
export function satisfies(constraint: Constraint, argument: unknown): boolean {
  switch (constraint.constraint_type) {
    case CONSTRAINT_TYPES.exact:
      return argument === constraint.value;
    case CONSTRAINT_TYPES.oneOf:
      return includes(constraint.values, argument);
    case CONSTRAINT_TYPES.range:
      return isExactNumber(argument) && isBetween(constraint, argument);
    case CONSTRAINT_TYPES.subset:
      return Array.isArray(argument) && eachIsIn(constraint.allowed, argument);
    case CONSTRAINT_TYPES.pathPrefix:
      return typeof argument === "string" && isCleanPath(argument) && isWithin(constraint.prefix, argument);
    case CONSTRAINT_TYPES.all:
      return constraint.constraints.every((clause) => satisfies(clause, argument));
    case CONSTRAINT_TYPES.any:
      return constraint.constraints.some((clause) => satisfies(clause, argument));
    case CONSTRAINT_TYPES.wildcard:
      return true;
    default:
      return false;
  }
}

/** Whether a number means the same to every reader: finite, and a safe integer where it is whole. */
export function isExactNumber(value: unknown): value is number {
  return Number.isFinite(value) && (!Number.isInteger(value) || Number.isSafeInteger(value));
}

function includes(values: readonly unknown[], value: unknown): boolean {
  return values.includes(value);
}

function eachIsIn(allowed: readonly unknown[], items: readonly unknown[]): boolean {
  // Unlike every(), the loop also sees the holes of a sparse array.
  for (const item of items) {
    if (!allowed.includes(item)) return false;
  }
  return true;
}

function isBetween(range: Range, value: number): boolean {
  const { min = -Infinity, max = Infinity, min_inclusive = true, max_inclusive = true } = range;
  return (min_inclusive ? value >= min : value > min) && (max_inclusive ? value <= max : value < max);
}
