import { type Constraint, CONSTRAINT_TYPES, type ConstraintEntry } from "./constraint.ts";
import { satisfies } from "./constraint_check.ts";
import { cannotUse } from "./constraint_error.ts";
import { isPlainObject, membersOf, outermost, parseEntry, type Used } from "./constraint_parse.ts";
import { type Subsumption, subsumption } from "./constraint_subsumption.ts";

/** How many tools a tool map names at most. */
export const MAX_TOOLS = 64;

/** How many arguments a tool map names at most for one tool. */
export const MAX_ARGUMENTS = 64;

/** How long the name of an argument is at most, in UTF-16 units. */
export const MAX_ARGUMENT_NAME_LENGTH = 128;

/** How long a tool's name is at most: a contract allows 128 characters for the service and 64 for the method. */
export const MAX_TOOL_NAME_LENGTH = 128 + 1 + 64;

/**
 * What a capability allows for one tool: a constraint for each argument by name.
 *
 * The world is closed. An argument that is not named is refused unless the key `"*"` is there, whose constraint is a
 * wildcard; one that is named must be there, unless its constraint is optional. The empty map stands for `"*"` alone, so
 * it allows any arguments.
 */
export type ArgumentMap = Readonly<Record<string, ConstraintEntry>>;

/**
 * What a capability allows: the tools it names, as `payments.v1/charge`, and nothing else.
 *
 * @see {@link https://datatracker.ietf.org/doc/draft-niyikiza-oauth-attenuating-agent-tokens/ | AAT}, section 3.3.
 */
export type ToolMap = Readonly<Record<string, ArgumentMap>>;

/**
 * Reads the `tools` member of a capability; the result is a deeply frozen copy.
 *
 * Whatever is not understood is refused: a type or a member that is not known, a value of the wrong type, and more than
 * the limits allow.
 *
 * @param value The member as JSON has it, or a tool map made of constraints.
 * @returns The tool map, fit for {@linkcode permits} and {@linkcode narrower}.
 * @throws {ConstraintError} It is not well-formed; the message names the place, never a value.
 */
export function parseToolMap(value: unknown): ToolMap {
  const tools = membersOf(value, "tools");
  if (tools.size > MAX_TOOLS) throw cannotUse("tools", `it names more than the ${MAX_TOOLS} tools allowed`);
  const used: Used = { constraints: 0, values: 0 };
  return frozen(tools, (tool, map) => {
    assertName(tool, "tools", MAX_TOOL_NAME_LENGTH);
    return parseArgumentMap(map, placeOf("tools", tool), used);
  });
}

/**
 * Whether a tool map allows a call. It never throws, whatever the arguments are.
 *
 * @param tools The tool map, from {@linkcode parseToolMap}.
 * @param tool The tool, compared character by character.
 * @param args The top-level members of the decoded message. A member that is `undefined` has no value to be checked, so
 *   it is refused.
 * @returns Whether the tool is named, and each of its arguments allowed.
 */
export function permits(tools: ToolMap, tool: string, args: Readonly<Record<string, unknown>>): boolean {
  try {
    return Object.hasOwn(tools, tool) && permitsArguments(tools[tool], args);
  } catch {
    // A getter or a proxy may throw anything.
    return false;
  }
}

/**
 * Whether a child allows nothing that its parent does not: invariant I4.
 *
 * It goes by structure, so it is quick and never wrong when it says yes; some pairs that are narrower by arithmetic only
 * get a no.
 *
 * @param child What a derived capability allows, from {@linkcode parseToolMap}.
 * @param parent What the capability it is derived from allows, from {@linkcode parseToolMap}.
 * @returns Whether every call that the child permits is one that the parent permits.
 * @see {@link https://datatracker.ietf.org/doc/draft-niyikiza-oauth-attenuating-agent-tokens/ | AAT}, section 4.5.
 */
export function narrower(child: ToolMap, parent: ToolMap): boolean {
  const isNarrower = subsumption();
  return Object.keys(child).every((tool) =>
    Object.hasOwn(parent, tool) && isNarrowerMap(child[tool], parent[tool], isNarrower)
  );
}

/** The key that stands for every argument a map does not name. */
const UNNAMED = "*";

function parseArgumentMap(value: unknown, place: string, used: Used): ArgumentMap {
  const entries = membersOf(value, place);
  if (entries.size > MAX_ARGUMENTS) {
    throw cannotUse(place, `it names more than the ${MAX_ARGUMENTS} arguments allowed`);
  }
  return frozen(entries, (name, entry) => {
    assertName(name, place, MAX_ARGUMENT_NAME_LENGTH);
    const at = outermost(placeOf(place, name), used);
    const constraint = parseEntry(entry, at);
    if (name === UNNAMED) assertUnnamed(constraint, at.place);
    return constraint;
  });
}

function assertUnnamed(constraint: ConstraintEntry, place: string): void {
  if (constraint.constraint_type === CONSTRAINT_TYPES.wildcard && !Object.hasOwn(constraint, "optional")) return;
  throw cannotUse(place, 'it must be a wildcard without "optional"');
}

function assertName(name: string, place: string, maxLength: number): void {
  if (name !== "" && name.length <= maxLength && name.isWellFormed() && !/\p{Cc}/u.test(name)) return;
  throw cannotUse(place, `a name has 1 to ${maxLength} characters, none of them a control character`);
}

function placeOf(parent: string, name: string): string {
  return parent + (/^[A-Za-z_]\w*$/.test(name) ? "." + name : `[${JSON.stringify(name)}]`);
}

function frozen<Value>(
  members: ReadonlyMap<string, unknown>,
  read: (name: string, value: unknown) => Value,
): Readonly<Record<string, Value>> {
  // fromEntries() makes "__proto__" a member like any other.
  return Object.freeze(Object.fromEntries([...members].map(([name, value]) => [name, read(name, value)])));
}

function permitsArguments(map: ArgumentMap, args: unknown): boolean {
  if (!isPlainObject(args)) return false;
  // Members that are symbols or not enumerable are arguments too, for whoever reads them.
  return Reflect.ownKeys(args).every((name) => typeof name === "string" && permitsArgument(map, name, args[name])) &&
    namesIn(map).every((name) => map[name].optional === true || Object.hasOwn(args, name));
}

function permitsArgument(map: ArgumentMap, name: string, value: unknown): boolean {
  if (value === undefined) return false;
  return Object.hasOwn(map, name) ? satisfies(map[name], value) : isOpen(map);
}

function isNarrowerMap(child: ArgumentMap, parent: ArgumentMap, isNarrower: Subsumption): boolean {
  if (isOpen(child) && !isOpen(parent)) return false;
  return namesIn(child).every((name) =>
    Object.hasOwn(parent, name) ? isNarrowerEntry(child[name], parent[name], isNarrower) : isOpen(parent)
  ) && namesIn(parent).every((name) =>
    Object.hasOwn(child, name) || (parent[name].optional === true && !isOpen(child))
  );
}

function isNarrowerEntry(child: ConstraintEntry, parent: ConstraintEntry, isNarrower: Subsumption): boolean {
  if (child.optional === true && parent.optional !== true) return false;
  return isNarrower(child as Constraint, parent as Constraint);
}

function isOpen(map: ArgumentMap): boolean {
  return Object.hasOwn(map, UNNAMED) || Object.keys(map).length === 0;
}

function namesIn(map: ArgumentMap): readonly string[] {
  return Object.keys(map).filter((name) => name !== UNNAMED);
}
