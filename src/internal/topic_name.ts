/** The grammar of a topic's name, which is a service's: names of letters, digits and `_` joined by dots. */
const NAME = /^(?=.{1,128}$)[A-Za-z]\w*(?:\.[A-Za-z]\w*)*$/;
/** The same with `*` for one segment, and `>` at the end for one or more. */
const PATTERN = /^(?=.{1,128}$)(?:(?:[A-Za-z]\w*|\*)\.)*(?:[A-Za-z]\w*|\*|>)$/;

/** Whether a text is the name of a topic. */
export function isTopicName(text: unknown): text is string {
  return typeof text === "string" && NAME.test(text);
}

/** Whether a text is a pattern of topic names; each name is one of itself. */
export function isTopicPattern(text: unknown): text is string {
  return typeof text === "string" && PATTERN.test(text);
}

/**
 * Whether a pattern covers a name, segment by segment; it covers another pattern where it covers every name of that.
 *
 * @param pattern The pattern.
 * @param name A name, or a narrower pattern.
 */
export function coversTopic(pattern: string, name: string): boolean {
  if (pattern === name || pattern === ">") return true;
  const wanted = pattern.split(".");
  const given = name.split(".");
  for (const [index, segment] of wanted.entries()) {
    if (segment === ">") return given.length > index;
    const one = given[index];
    if (one === undefined || one === ">" || (segment !== "*" && segment !== one)) return false;
  }
  return wanted.length === given.length;
}
