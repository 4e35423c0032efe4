/* Matching bright maps with templates, and its gradient; training/native.py calls these loops.
 *
 * Most of a bright map is dark for certain, and adds nothing: only the pixels that may be bright are visited.
 * The formulas stand in model/verification/interval_bounds.py, which the tests hold these against.
 */

/* Templates that are matched at once: as many as the registers hold sums for. */
enum { PIXELS = 28 * 28, GROUP = 32, EIGHTS = GROUP / 8 };

typedef float Eight __attribute__((vector_size(32)));
typedef int Bits __attribute__((vector_size(32)));
typedef float Group[PIXELS][GROUP] __attribute__((aligned(32)));

/* The pixels that may be bright, those with one possible value first; centre and reach of each. */
typedef struct {
    int exact, all, place[PIXELS];
    float centre[PIXELS], reach[PIXELS];
} Lit;

int size_of_lit(void) { return sizeof(Lit); }

/* bounds (2, N, 784) -> lit (N). */
void lit_pixels(int first, int last, int count, const float *bounds, Lit *lit) {
    for (int n = first; n < last; n++) {
        const float *lower = bounds + n * PIXELS, *upper = lower + count * PIXELS;
        int all = 0;
        for (int wide = 0; wide < 2; wide++) {
            for (int i = 0; i < PIXELS; i++) {
                if (upper[i] <= 0 || (lower[i] < upper[i]) != wide) continue;
                lit[n].place[all] = i;
                lit[n].centre[all] = (lower[i] + upper[i]) / 2;
                lit[n].reach[all++] = (upper[i] - lower[i]) / 2;
            }
            if (!wide) lit[n].exact = all;
        }
        lit[n].all = all;
    }
}

static void match_group(const Lit *lit, Group group, Eight *least, Eight *most) {
    Eight centre[EIGHTS] = {{0}}, reach[EIGHTS] = {{0}};
    for (int i = 0; i < lit->exact; i++) {
        const Eight *weight = (const Eight *)group[lit->place[i]];
        for (int e = 0; e < EIGHTS; e++) centre[e] += lit->centre[i] * weight[e];
    }
    for (int i = lit->exact; i < lit->all; i++) {
        const Eight *weight = (const Eight *)group[lit->place[i]];
        for (int e = 0; e < EIGHTS; e++) {
            centre[e] += lit->centre[i] * weight[e];
            reach[e] += lit->reach[i] * (Eight)((Bits)weight[e] & 0x7fffffff);
        }
    }
    for (int e = 0; e < EIGHTS; e++) least[e] = centre[e] - reach[e], most[e] = centre[e] + reach[e];
}

/* lit (N), templates (F, P, 784) -> best, winner (2, N, F), for the shapes from first to last. */
void best_match(int first, int last, int count, int shapes, int poses, const Lit *lit,
                const float *templates, float *best, unsigned char *winner) {
    static _Thread_local Group group;
    for (int start = first * poses; start < last * poses; start += GROUP) {
        int held = last * poses - start < GROUP ? last * poses - start : GROUP, shape[GROUP], pose[GROUP];
        for (int i = 0; i < held; i++) {
            shape[i] = (start + i) / poses, pose[i] = (start + i) % poses;
            const float *template = templates + (start + i) * PIXELS;
            for (int pixel = 0; pixel < PIXELS; pixel++) group[pixel][i] = template[pixel];
        }
        for (int n = 0; n < count; n++) {
            float score[2][GROUP] __attribute__((aligned(32)));
            match_group(lit + n, group, (Eight *)score[0], (Eight *)score[1]);
            for (int end = 0; end < 2; end++)
                for (int i = 0; i < held; i++) {
                    int at = (end * count + n) * shapes + shape[i];
                    if (pose[i] == 0 || score[end][i] > best[at])
                        best[at] = score[end][i], winner[at] = pose[i];
                }
        }
    }
}

/* Which end of a pixel a weight takes for the lower (0) or the upper (1) end of the match: -1, 0 or 1. */
static float side(float weight, int end) {
    float sign = (weight > 0) - (weight < 0);
    return end ? sign : -sign;
}

/* of_templates (F, P, 784), zeroed by the caller, for the shapes from first to last. */
void best_match_to_templates(int first, int last, int count, int shapes, int poses, const Lit *lit,
                             const float *templates, const unsigned char *winner, const float *gradient,
                             float *of_templates) {
    for (int f = first; f < last; f++)
        for (int end = 0; end < 2; end++)
            for (int n = 0; n < count; n++) {
                int at = (end * count + n) * shapes + f, from = (f * poses + winner[at]) * PIXELS;
                float g = gradient[at];
                if (g == 0) continue;
                for (int i = 0; i < lit[n].exact; i++)
                    of_templates[from + lit[n].place[i]] += g * lit[n].centre[i];
                for (int i = lit[n].exact; i < lit[n].all; i++) {
                    int place = from + lit[n].place[i];
                    of_templates[place] += g * (lit[n].centre[i] + side(templates[place], end) * lit[n].reach[i]);
                }
            }
}

/* of_bounds (2, N, 784), zeroed by the caller, for the images from first to last. */
void best_match_to_bounds(int first, int last, int count, int shapes, int poses, const Lit *lit,
                          const float *templates, const unsigned char *winner, const float *gradient,
                          float *of_bounds) {
    for (int n = first; n < last; n++) {
        float *of_lower = of_bounds + n * PIXELS, *of_upper = of_lower + count * PIXELS;
        for (int end = 0; end < 2; end++)
            for (int f = 0; f < shapes; f++) {
                int at = (end * count + n) * shapes + f;
                const float *template = templates + (f * poses + winner[at]) * PIXELS;
                float g = gradient[at] / 2;
                if (g == 0) continue;
                for (int i = 0; i < lit[n].all; i++) {
                    int place = lit[n].place[i];
                    float moved = g * template[place], apart = side(template[place], end) * moved;
                    of_lower[place] += moved - apart, of_upper[place] += moved + apart;
                }
            }
    }
}
