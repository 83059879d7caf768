// The values half-way between samples, as `saturate` and `clip` need them going up and coming back: the filter is symmetric. Samples lie
// in workgroup memory as pairs, `pairs`. A lane makes eight values: a sample is fetched once for all of them.

/// Nine values, the first half-way after 31 samples from `first` on, which is even. Who needs eight leaves the first or the last.
fn half_way(first: u32) -> array<vec2<f32>, 9> {
    var s0 = vec2<f32>(0.0);
    var s1 = vec2<f32>(0.0);
    var s2 = vec2<f32>(0.0);
    var s3 = vec2<f32>(0.0);
    var s4 = vec2<f32>(0.0);
    var s5 = vec2<f32>(0.0);
    var s6 = vec2<f32>(0.0);
    var s7 = vec2<f32>(0.0);
    var s8 = vec2<f32>(0.0);
    var a = pairs[first / 2u];
    var b = pairs[first / 2u + 1u];
    var c = pairs[first / 2u + 2u];
    var d = pairs[first / 2u + 3u];
    for (var q = 0u; q < 16u; q++) {
        let h = filters[HALF + q];
        let e = pairs[first / 2u + 4u + 2u * q];
        let f = pairs[first / 2u + 5u + 2u * q];
        s0 += h.x * a.xy + h.y * a.zw + h.z * b.xy + h.w * b.zw;
        s1 += h.x * a.zw + h.y * b.xy + h.z * b.zw + h.w * c.xy;
        s2 += h.x * b.xy + h.y * b.zw + h.z * c.xy + h.w * c.zw;
        s3 += h.x * b.zw + h.y * c.xy + h.z * c.zw + h.w * d.xy;
        s4 += h.x * c.xy + h.y * c.zw + h.z * d.xy + h.w * d.zw;
        s5 += h.x * c.zw + h.y * d.xy + h.z * d.zw + h.w * e.xy;
        s6 += h.x * d.xy + h.y * d.zw + h.z * e.xy + h.w * e.zw;
        s7 += h.x * d.zw + h.y * e.xy + h.z * e.zw + h.w * f.xy;
        s8 += h.x * e.xy + h.y * e.zw + h.z * f.xy + h.w * f.zw;
        a = c;
        b = d;
        c = e;
        d = f;
    }
    return array<vec2<f32>, 9>(s0, s1, s2, s3, s4, s5, s6, s7, s8);
}
