"""A trial: an adversarial generator of the parts of ECGs (see ecgveil.complexes). python generator.py NAME [option=value ...]

parts.npz holds, of the training ECGs, W (n, 8, 256) complexes, P (n, 9, 14) electrode noise, S (n, 4) rhythm statistics,
A (n, 18) spread of amplitudes and B (n, 14, 3) burstiness.
"""
import sys,time,math,copy,numpy as np,torch
from torch import nn
from torch.nn import functional as F
from scipy.signal import welch
torch.set_num_threads(1)
name=sys.argv[1]; opt=dict(steps=3000,batch=32,lr=8e-4,width=48,cw=48,pen=.5,every=4,seed=0,latent=64,ema=.998,aug=.15,vae=0.0,kl=1.0,bf=0,mb=1,minutes=0.0)
for a in sys.argv[2:]:
    k,v=a.split("="); opt[k]=type(opt[k])(float(v))
Z=np.load("parts.npz"); W=np.clip(Z["W"],-15,15); P=Z["P"]; S=Z["S"]; A=Z["A"]; B=Z["B"]
lp=np.log(P+.03*P.mean(1,keepdims=True)+1e-9).reshape(len(W),-1)
la=np.log(A+.01)
rat=np.log(np.clip(np.nan_to_num(B[:,:,0],nan=1.),.05,1.5)); rat=np.stack([rat[:,3:7].mean(1),rat[:,8:].mean(1)],1)
V=np.concatenate([lp,la,rat],1); vm,vs=V.mean(0),V.std(0)+1e-3
V=torch.tensor(((V-vm)/vs).clip(-5,5),dtype=torch.float32); W=torch.tensor(W,dtype=torch.float32); sm,ss=S.mean(0),S.std(0)+1e-3; S=torch.tensor((S-sm)/ss,dtype=torch.float32)
n=len(W); nv=V.shape[1]; print(n,nv,opt,flush=True)
win=torch.ones(256)
class Mod(nn.Module):
    def __init__(s,a,b,style,k=5):
        super().__init__(); s.conv=nn.Conv1d(a,b,k,padding=k//2); s.mod=nn.Linear(style,2*b); nn.init.normal_(s.mod.weight,std=.5/style**.5); nn.init.zeros_(s.mod.bias)
    def forward(s,x,w):
        sc,sh=s.mod(w)[:,:,None].chunk(2,1); return F.leaky_relu(s.conv(x)*(1+sc)+sh,.2)*1.2
class Gen(nn.Module):
    def __init__(s,latent,w,style=128):
        super().__init__(); s.w=w
        s.style=nn.Sequential(nn.Linear(latent+4,style),nn.LeakyReLU(.2),nn.Linear(style,style),nn.LeakyReLU(.2),nn.Linear(style,style),nn.LeakyReLU(.2))
        s.first=nn.Linear(style,2*w*16); ws=[2*w,2*w,2*w,w,w]
        s.blocks=nn.ModuleList(Mod(a,b,style) for a,b in zip([2*w]+ws[:-1],ws))
        s.noise=nn.ParameterList(nn.Parameter(torch.zeros(1,b,1)) for b in ws)
        s.out=nn.Conv1d(w,8,5,padding=2); s.vec=nn.Sequential(nn.Linear(style+nv,256),nn.LeakyReLU(.2),nn.Linear(256,256),nn.LeakyReLU(.2),nn.Linear(256,nv)); s.vn=nn.Parameter(torch.full((nv,),.3))
        s.gain=nn.Linear(style,8)
        nn.init.zeros_(s.gain.weight); nn.init.zeros_(s.gain.bias)
    def forward(s,z,st):
        w=s.style(torch.cat([z,st],1)); x=s.first(w).view(len(z),2*s.w,16)
        for i,b in enumerate(s.blocks):
            if i: x=F.interpolate(x,scale_factor=2,mode="linear",align_corners=False)
            x=b(x,w); x=x+s.noise[i]*torch.randn(len(x),1,x.shape[2])
        return s.out(x)*torch.exp(s.gain(w))[:,:,None],s.vec(torch.cat([w,torch.randn(len(w),nv)],1))+s.vn*torch.randn(len(w),nv)
class Crit(nn.Module):
    def __init__(s,w):
        super().__init__()
        s.c=nn.ModuleList([nn.Conv1d(16,w,9,2,4),nn.Conv1d(w,2*w,7,2,3),nn.Conv1d(2*w,2*w,7,2,3),nn.Conv1d(2*w,2*w,5,2,2)])
        s.patch=nn.Conv1d(2*w,1,3,padding=1)
        s.v=nn.Sequential(nn.Linear(nv+4,256),nn.LeakyReLU(.2),nn.Linear(256,128),nn.LeakyReLU(.2)); s.vo=nn.Linear(128,1)
        s.j=nn.Sequential(nn.Linear(2*w*16+128+1,256),nn.LeakyReLU(.2),nn.Linear(256,1))
    def forward(s,t,v,st):
        x=torch.cat([t/3,torch.asinh(5*t)/2],1)
        for c in s.c: x=F.leaky_relu(c(x),.2)
        h=s.v(torch.cat([v,st],1)); f=x.flatten(1)
        mb=(f.var(0)+1e-6).sqrt().mean().expand(len(f),1) if opt["mb"] else f.new_zeros(len(f),1)
        return torch.cat([s.patch(x).squeeze(1),4*s.vo(h),4*s.j(torch.cat([f,h,mb],1))],1)
class Enc(nn.Module):
    def __init__(s,w,latent):
        super().__init__(); s.c=nn.Sequential(nn.Conv1d(16,w,9,2,4),nn.LeakyReLU(.2),nn.Conv1d(w,w,7,4,3),nn.LeakyReLU(.2),nn.Conv1d(w,w,5,2,2),nn.LeakyReLU(.2),nn.Flatten())
        s.f=nn.Sequential(nn.Linear(w*16+nv+4,192),nn.LeakyReLU(.2),nn.Linear(192,2*latent))
    def forward(s,t,v,st):
        return s.f(torch.cat([s.c(torch.cat([t/3,torch.asinh(5*t)/2],1)),v,st],1)).chunk(2,1)
torch.manual_seed(opt["seed"]); rng=np.random.default_rng(opt["seed"])
G=Gen(opt["latent"],opt["width"]); C=Crit(opt["cw"]); E=Enc(48,opt["latent"]); Aq=copy.deepcopy(G).requires_grad_(False)
print("G",sum(p.numel() for p in G.parameters()),"C",sum(p.numel() for p in C.parameters()))
og=torch.optim.Adam([*G.parameters(),*E.parameters()],opt["lr"],betas=(0.,.99)); oc=torch.optim.Adam(C.parameters(),opt["lr"],betas=(0.,.99))
def aug(t,v,g,e): return t*torch.exp(opt["aug"]*g)[:,None,None]+.01*e[0],v+.02*e[1]
def augs(B): return torch.randn(B),(torch.randn(B,8,256),torch.randn(B,nv))
t0=time.process_time()
for step in range(opt["steps"]):
    lr=opt["lr"]*min(1,(1-step/opt["steps"])/.5)
    for o in (og,oc):
        for g in o.param_groups: g["lr"]=lr
    B=opt["batch"]; i=torch.tensor(rng.integers(0,n,B)); st=S[i]
    def fake():
        z=torch.randn(B,opt["latent"]); return G(z,st)
    with torch.no_grad(): ft,fv=fake()
    rt,rv=aug(W[i],V[i],*augs(B)); ft,fv=aug(ft,fv,*augs(B)); pen=step%opt["every"]==0
    if pen: xs=[x.detach().requires_grad_(True) for x in (rt,rv,ft,fv)]; rt,rv,ft,fv=xs
    a,b=C(rt,rv,st),C(ft,fv,st); lc=F.softplus(b-a).mean()
    if pen:
        gr=torch.autograd.grad(a.mean(1).sum()+b.mean(1).sum(),xs,create_graph=True)
        lc=lc+.5*opt["pen"]*opt["every"]*sum(g.flatten(1).square().sum(1).mean() for g in gr)
    oc.zero_grad(); lc.backward(); oc.step()
    C.requires_grad_(False)
    ft,fv=fake(); a,b=C(*aug(W[i],V[i],*augs(B)),st),C(*aug(ft,fv,*augs(B)),st); lg=F.softplus(a-b).mean()
    loss=lg; rec=torch.tensor(0.)
    if opt["vae"]:
        j=torch.tensor(rng.integers(0,n,B)); mu,lv=E(W[j],V[j],S[j]); lv=lv.clamp(-8,2); z=mu+torch.exp(.5*lv)*torch.randn_like(mu); tt,vv=G(z,S[j])
        rec=F.smooth_l1_loss(tt,W[j],beta=.2,reduction="none").sum((1,2)).mean()/.5+.5*F.smooth_l1_loss(vv,V[j],reduction="none").sum(1).mean()
        kl=.5*(mu**2+lv.exp()-1-lv).sum(1).mean(); loss=loss+opt["vae"]*1e-3*(rec+opt["kl"]*kl)
    og.zero_grad(); loss.backward(); og.step(); C.requires_grad_(True)
    with torch.no_grad():
        d=min(opt["ema"],(step+1)/(step+10))
        for p,q in zip(Aq.parameters(),G.parameters()): p.lerp_(q,1-d)
    if step%100==0:
        with torch.no_grad(): div=(ft.std(0).mean()/W.std(0).mean()).item()
        print(step,f"c {lc.item():.3f} g {lg.item():.3f} acc {(a>b).float().mean().item():.2f} rec {rec.item():.0f} div {div:.2f} {(time.process_time()-t0)/(step+1):.3f} s/step",flush=True)
torch.save(Aq.state_dict(),name+".gp")
with torch.no_grad():
    m=512; st=S[torch.tensor(rng.integers(0,n,m))]+.1*torch.randn(m,4); t,v=Aq(torch.randn(m,opt["latent"]),st)
np.savez(name+"_parts.npz",W=t.numpy(),V=v.numpy()*vs+vm,S=st.numpy()*ss+sm)
# parts-level two-sample with trees
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.model_selection import cross_val_predict
from sklearn.metrics import roc_auc_score
def feat(W,V): 
    W=W.reshape(len(W),8,64,4).mean(3); return np.concatenate([W.reshape(len(W),-1),V],1)
Vr=V.numpy()*vs+vm; Xa=feat(W.numpy()[:512],Vr[:512]); Xb=feat(t.numpy(),v.numpy()*vs+vm); y=np.repeat([0,1],512)
for nm,sl in (("template",slice(0,512)),("vector",slice(512,None)),("both",slice(0,None))):
    p=cross_val_predict(ExtraTreesClassifier(200,min_samples_leaf=2,max_features=.1,random_state=0),np.concatenate([Xa,Xb])[:,sl],y,cv=5,method="predict_proba")[:,1]; print(nm,"AUC",round(roc_auc_score(y,p),3))
